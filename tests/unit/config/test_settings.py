"""Settings, schema and defaults hold together."""

import dataclasses
import json
from typing import Any, get_args, get_type_hints

import pytest

from samfleet.config.schema import complete_config, schema
from samfleet.config.settings import Settings, settings_of
from tests.builders import make_settings

TYPES = {
    "string": {str},
    "boolean": {bool},
    "integer": {int},
    "number": {float},
    "array": {tuple},
    "null": {type(None)},
}


def sections(kind: type = Settings, part: dict | None = None) -> list[tuple[type, dict]]:
    """Every class of settings with its part of the schema."""
    part = part or schema()
    found = [(kind, part)]
    for name, inner in get_type_hints(kind).items():
        if dataclasses.is_dataclass(inner):
            found += sections(inner, part["properties"][name])
    return found


def types_of(part: dict) -> set[type]:
    """The Python types that a key's values may have."""
    found: set[type] = set()
    for option in part.get("oneOf", [part]):
        values = option.get("enum", [option["const"]] if "const" in option else [])
        found |= {type(value) for value in values} or TYPES[option["type"]]
    return found


@pytest.mark.parametrize(
    ("kind", "part"), sections(), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_class_has_the_keys_of_its_section_in_order_and_of_their_types(kind, part):
    hints = get_type_hints(kind)
    assert list(hints) == list(part["properties"])
    for name, hint in hints.items():
        if not dataclasses.is_dataclass(hint):
            types = {getattr(t, "__origin__", t) for t in get_args(hint)}
            union = types if type(hint).__name__ == "UnionType" else set()
            assert (union or {getattr(hint, "__origin__", hint)}) == types_of(
                part["properties"][name]
            )


def nested(section: Any) -> list[Any]:
    """A section and all sections in it."""
    inner = [value for value in vars(section).values() if dataclasses.is_dataclass(value)]
    return [section, *(deeper for value in inner for deeper in nested(value))]


def test_the_settings_of_nothing_but_images_are_the_defaults():
    settings = make_settings("x")
    for kind, part in sections():
        section = next(value for value in nested(settings) if isinstance(value, kind))
        for name, key in part["properties"].items():
            value = getattr(section, name)
            if "default" in key and not dataclasses.is_dataclass(value):
                assert (list(value) if isinstance(value, tuple) else value) == key["default"], name


def test_settings_survive_being_written_down():
    settings = make_settings("x", devices=["a"], sam={"points_per_batch": 3})
    written = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert settings_of(complete_config(written)) == settings
