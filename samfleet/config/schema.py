"""The configuration: defaults from the schema, and errors that name the key.

The Snakefile imports this, so it uses nothing but what Snakemake itself depends on.
"""

import math
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from samfleet.config.settings import GPU_PRECISIONS, in_micrometres
from samfleet.errors import UserError
from samfleet.resources import SCHEMA_FILE


class ConfigError(UserError):
    """The configuration is not valid; the message names each faulty key and says what it must be."""


@cache
def schema() -> dict:
    """The JSON schema of the configuration."""
    return yaml.safe_load(SCHEMA_FILE.read_text())


def complete_config(config: dict) -> dict:
    """Check a configuration and fill in the schema's defaults.

    Args:
        config: as read from YAML. It is not modified.

    Raises:
        ConfigError: unknown keys, wrong types or impossible values, all of them in one message.
    """
    try:
        config = _read_from_text(config, schema())
        errors = list(_unusable(config))
    except RecursionError as error:
        raise ConfigError("the configuration contains itself, or is nested too deeply") from error
    if not errors:
        # a key without a value is null in YAML and means the default
        config = _with_defaults(config, schema())
        found = Draft202012Validator(schema()).iter_errors(config)
        errors = [_message(error) for error in found]
    if not errors:
        config = _with_plain_numbers(config, schema())
        if length := in_micrometres(config["sam"]["object_diameter"]):
            config["sam"]["object_diameter"] = f"{length:.12g} um"  # one spelling, one model key
        errors = _contradictions(config)
    if errors:
        lines = "\n  ".join(errors)
        raise ConfigError(
            f"the configuration has {len(errors)} error{'s' if len(errors) > 1 else ''}:\n  {lines}\n"
            "config/README.md describes every key"
        )
    return config


def _read_from_text(value: Any, part: dict) -> Any:
    """Numbers, true and false where they came as text, as what stands inside ``--config 'sam={…}'`` does."""
    if isinstance(value, dict):
        parts = part.get("properties", {})
        return {key: _read_from_text(inner, parts.get(key, {})) for key, inner in value.items()}
    if isinstance(value, list):
        return [_read_from_text(inner, part.get("items", {})) for inner in value]
    if isinstance(value, str) and not Draft202012Validator(part).is_valid(value):
        read = _plain_value(value)
        if read is None or Draft202012Validator(part).is_valid(read):
            return read
    return value


def _plain_value(text: str) -> Any:
    word = text.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return text


_WORDS = {"true": True, "false": False, "null": None, "none": None, "~": None, "": None}


def _with_defaults(value: Any, part: dict) -> Any:
    if not isinstance(value, dict) or "properties" not in part:
        return value
    completed = dict(value)
    for key, subschema in part["properties"].items():
        if completed.get(key) is None and "default" in subschema:
            completed[key] = subschema["default"]
        if key in completed:
            completed[key] = _with_defaults(completed[key], subschema)
    return completed


def _with_plain_numbers(value: Any, part: dict) -> Any:
    """Numbers in the types of the schema: 1 and 1.0 must give the same model key."""
    if isinstance(value, dict):
        return {key: _with_plain_numbers(v, part["properties"][key]) for key, v in value.items()}
    if isinstance(value, list):
        options = part.get("oneOf", [part])
        items = next(option["items"] for option in options if "items" in option)
        return [_with_plain_numbers(item, items) for item in value]
    if isinstance(value, int | float):
        kinds = {option.get("type") for option in part.get("oneOf", [part])}
        if "integer" in kinds:
            return int(value)
        if "number" in kinds:
            return float(value)
    return value


def _unusable(value: object, key: str = "") -> Iterator[str]:
    """What is wrong with values that YAML and the schema allow but that cannot be used."""
    place = key or "the configuration"
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _unusable(name, key)
            yield from _unusable(
                inner, f"{key}.{name}".lstrip(".") if isinstance(name, str) else key
            )
    elif isinstance(value, list):
        for inner in value:
            yield from _unusable(inner, key)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{place}: {value} is not a finite number"
    elif isinstance(value, int) and value.bit_length() > 63:
        yield f"{place}: a number of {value.bit_length()} bits is too large"
    elif isinstance(value, str) and ("\0" in value or not _is_encodable(value)):
        yield f"{place}: {value!r:.80} contains a null character or an invalid one"


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _message(error: ValidationError) -> str:
    key = ".".join(map(str, error.absolute_path))
    value: Any = error.instance
    if error.validator == "additionalProperties":
        known = _subschema(key)["properties"]
        unknown = sorted(set(map(str, value)) - set(known))
        inside = f" in {key}" if key else ""
        hint = "; write `key: value`" if any("=" in name for name in unknown) else ""
        hint += "".join(
            f"; {_REPLACED[f'{key}.{n}']}" for n in unknown if f"{key}.{n}" in _REPLACED
        )
        return f"unknown key{inside}: {', '.join(unknown)} (known: {', '.join(known)}){hint}"
    if error.validator == "required":
        missing = [name for name in _subschema(key)["required"] if name not in value]
        return f"{'.'.join([*filter(None, [key]), *missing])}: must be set"
    if error.validator == "type" and error.validator_value == "object" and key:
        some = next(iter(_subschema(key)["properties"]))
        return (
            f"{key}: {value!r} is not a section: its keys stand below it or, on the command line, "
            f"--config '{key}={{{some}: …}}'"
        )
    if error.validator_value == "string" and isinstance(value, int | float):
        return (
            f"{key}: {value} is not text: put it in quotes or, if it is a path on the command line, "
            f"write ./{value}"
        )
    if error.validator in ("oneOf", "anyOf") and error.context:
        error = best_match(error.context) or error
        return f"{key}: {error.instance!r} is not allowed; it must be {allowed_values(_subschema(key))}"
    return f"{key or 'the configuration'}: {error.message}"


def _subschema(key: str) -> dict:
    part = schema()
    for name in filter(None, key.split(".")):
        part = part["properties"][name]
    return part


def allowed_values(part: dict) -> str:
    """The values that a key may have, as text."""
    words = []
    for option in part.get("oneOf", [part]):
        if "title" in option:
            words.append(option["title"])
        elif "const" in option:
            words.append(repr(option["const"]))
        elif "enum" in option:
            words.extend(map(repr, option["enum"]))
        elif option["type"] == "null":
            words.append("nothing")
        elif option["type"] == "array":
            words.append(f"list of {allowed_values(option['items'])}")
        else:
            bounds = {"minimum": "≥", "exclusiveMinimum": ">"}
            bounds |= {"maximum": "≤", "exclusiveMaximum": "<"}
            limits = [f"{sign} {option[name]}" for name, sign in bounds.items() if name in option]
            words.append(f"{option['type']} {' and '.join(limits)}".strip())
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _contradictions(config: dict) -> list[str]:
    """Keys that contradict each other, which the schema cannot express."""
    sam, filters = config["sam"], config["fluorescence"]
    errors = []
    if filters["min_area"] > filters["max_area"]:
        errors.append(
            f"fluorescence.min_area: {filters['min_area']} is above fluorescence.max_area "
            f"({filters['max_area']}): no object could be kept"
        )
    low, high = config["display"]["percentiles"]
    if low >= high:
        errors.append(f"display.percentiles: {low} is not below {high}")
    for name, stored in (
        ("min_predicted_iou", "pred_iou_thresh"),
        ("min_stability_score", "stability_score_thresh"),
    ):
        if filters[name] is not None and filters[name] < sam[stored]:
            errors.append(
                f"fluorescence.{name}: {filters[name]} is below sam.{stored} ({sam[stored]}): "
                "such masks are not stored; lower that one"
            )
    if sam["precision"] in GPU_PRECISIONS and (config["device"] == "cpu" or config["devices"]):
        errors.append(
            f"sam.precision: {sam['precision']} needs a GPU, but "
            + ("devices are pretended" if config["devices"] else "device is cpu")
        )
    if sam["compile"] and sam["precision"] == "exact":
        errors.append(
            "sam.compile: sam.precision exact runs the operations of segment_anything as they are; "
            "compile with fast, tf32 or bf16"
        )
    errors += _tile_contradictions(sam) + _pattern_faults(config["image"]["channel_pattern"])
    own = sam["model"] == "tiny" or sam["checkpoint"] or sam["decoder"]
    if sam["prompts"] == "decoder" and not own:
        errors.append(
            f"sam.prompts: decoder, but the standard weights of {sam['model']} have none; set "
            "sam.checkpoint or sam.decoder to a file with one, such as micro-sam's"
        )
    errors += _refinement_contradictions(sam)
    factor = sam["crop_n_points_downscale_factor"] ** sam["crop_n_layers"]
    if sam["points_per_side"] // factor < 1:
        errors.append(
            f"sam.points_per_side: {sam['points_per_side']} leaves no prompt in crop layer "
            f"{sam['crop_n_layers']} with sam.crop_n_points_downscale_factor "
            f"{sam['crop_n_points_downscale_factor']}"
        )
    return errors


def _refinement_contradictions(sam: dict) -> list[str]:
    errors = [
        f"sam.{name}: needs prompts from a decoder, but sam.prompts is grid; set one of them otherwise"
        for name in ("refine_with_boxes", "refine_with_maps")
        if sam[name] and sam["prompts"] == "grid"
    ]
    if sam["refine_with_boxes"] and sam["model"] == "tiny" and not sam["checkpoint"]:
        errors.append(
            "sam.refine_with_boxes: the weights of tiny were trained with points alone and give empty masks "
            "for boxes; leave it out"
        )
    return errors


def _tile_contradictions(sam: dict) -> list[str]:
    size, diameter, overlap = (
        sam[name] for name in ("tile_size", "object_diameter", "tile_overlap")
    )
    errors = []
    if isinstance(diameter, str) and in_micrometres(diameter) == 0:
        errors.append(f"sam.object_diameter: {diameter} is not more than 0")
    if size is not None and diameter is not None:
        errors.append(
            f"sam.object_diameter: {diameter} chooses the size of tiles, which sam.tile_size sets to "
            f"{size}; leave one of them out"
        )
    if sam["crop_n_layers"] and (size is not None or diameter is not None):
        name = "tile_size" if size is not None else "object_diameter"
        errors.append(
            f"sam.crop_n_layers: {sam['crop_n_layers']} layers of crops, but sam.{name} asks for tiles, "
            "which take their place; leave one of them out"
        )
    if size is not None and overlap is not None and overlap > size // 2:
        errors.append(
            f"sam.tile_overlap: {overlap} is more than half of sam.tile_size ({size}); "
            f"it can be at most {size // 2}"
        )
    return errors


_REPLACED = {
    "image.page": "image.scenes, image.times and image.slices took the place of image.page: see docs/images.md"
}
"""Keys of earlier versions, with what to write instead."""


def _pattern_faults(pattern: str) -> list[str]:
    """What is wrong with `image.channel_pattern`."""
    if not pattern:
        return []
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        return [f"image.channel_pattern: {pattern!r} is no regular expression: {error}"]
    missing = [f"(?P<{name}>…)" for name in ("image", "channel") if name not in groups]
    words = f"image.channel_pattern: {pattern!r} has no group {' and '.join(missing)}"
    return [words] if missing else []


_ODD_NUMBER = re.compile(r"[-+]?(0[0-7_]+|[0-9_]+(:[0-9]+)+)")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one section, of which YAML would keep the last, and odd numbers."""

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """A value of the text. YAML 1.1 takes 0200 for an octal number and 1:30 for 90."""
        node = super().compose_scalar_node(anchor)
        if node.tag == "tag:yaml.org,2002:int" and _ODD_NUMBER.fullmatch(node.value):
            raise ConfigError(
                f"line {node.start_mark.line + 1}: YAML does not read {node.value} as the number it looks like: "
                "write it without leading zeros and colons, or in quotation marks"
            )
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A section of the text, before merged keys are added to it."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ConfigError(
                    f"`{key.value}` stands in line {lines[key.value]} and again in line {line}: join them"
                )
            lines[key.value] = line
        return node


def read_yaml(path: str | Path) -> dict:
    """Read a YAML file of keys and values.

    Raises:
        ConfigError: it is something else, or a key stands twice; the message names the file.
    """
    try:
        config = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:  # YAML's constructors raise anything: `!!bool x` a KeyError
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: must hold keys and values, such as `images: demo`")
    return config


def refuse_repeated_keys(path: str | Path) -> None:
    """Check a configuration that Snakemake reads, which keeps the last of several values in silence.

    Raises:
        ConfigError: a key stands twice; the message names the file and the lines.
    """
    try:
        yaml.compose(Path(path).read_text(encoding="utf-8"), _Loader)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception:  # Snakemake has read it, from a pipe or as a template, and knows better
        return


def read_config(path: str | Path) -> dict:
    """Read and complete a YAML file.

    Raises:
        ConfigError: it is not YAML, or its content is not valid; the message names the file.
    """
    config = read_yaml(path)
    try:
        return complete_config(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
