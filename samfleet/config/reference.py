"""Print the table of keys in config/README.md from the schema."""

import json
from collections.abc import Iterator

from samfleet.config.schema import allowed_values, schema


def reference_table() -> str:
    """The table of all keys in config/README.md, in Markdown."""
    lines = ["| key | value | default | what |", "|---|---|---|---|"]
    for key, part in _keys(schema()):
        cells = [f"`{key}`", "", "", part["description"]]
        if "properties" not in part:
            cells[1] = allowed_values(part)
            given = json.dumps(part.get("default"), ensure_ascii=False)
            cells[2] = f"`{given}`" if "default" in part else "must be set"
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _keys(part: dict, prefix: str = "") -> Iterator[tuple[str, dict]]:
    """Every key with its part of the schema; a section comes before its keys."""
    for name, subschema in part["properties"].items():
        yield prefix + name, subschema
        if "properties" in subschema:
            yield from _keys(subschema, f"{prefix}{name}.")


if __name__ == "__main__":
    print(reference_table(), end="")
