"""Configurations of every kind: each is completed to a valid one or refused by name."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samfleet.config.schema import ConfigError, complete_config, read_config
from samfleet.config.settings import settings_of
from samfleet.errors import UserError
from samfleet.plan.collection import scan_collection
from samfleet.resources import ROOT
from samfleet.sam.model_key import configured_model_key, model_settings
from tests.builders import schema_leaves

CONFIG = ROOT / "config"
FUZZ = settings(
    max_examples=3 * settings.default.max_examples,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
KEYS = sorted(schema_leaves())
SECTIONS = sorted({key.split(".")[0] for key in KEYS})

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(50, 20_000).map(lambda bits: 2**bits),
    st.floats(),
    st.sampled_from(["", "demo", "red", "max", "cuda", "~", "~nobody-here/x", "a" * 5000, "\0"]),
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.binary(max_size=4),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(SECTIONS) | SCALARS.filter(bool), inner, max_size=4)
    ),
    max_leaves=8,
)


def with_values(changes: dict[str, object]) -> dict:
    """A configuration that sets keys such as "sam.model", and sections as a whole."""
    config: dict = {"images": "demo"}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if not name:
            config[section] = value
        elif isinstance(config.setdefault(section, {}), dict):
            config[section][name] = value
    return config


def leaves(value: object):
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        yield value
        return
    for item in inner:
        yield from leaves(item)


def assert_usable_or_refused(config: object, folder: Path) -> None:
    """Either a ConfigError, or a configuration that all that comes after can work with."""
    try:
        completed = complete_config(config)
    except ConfigError as error:
        assert str(error)
        return
    assert complete_config(completed) == completed
    assert all(math.isfinite(leaf) for leaf in leaves(completed) if isinstance(leaf, float))
    settings = settings_of(completed)
    json.dumps(model_settings(settings, "digest"), allow_nan=False)
    for use in (
        lambda: scan_collection(completed["images"], completed["image"]["suffixes"], folder),
        lambda: configured_model_key(settings, folder),
    ):
        try:
            use()
        except UserError as error:
            assert str(error)


@FUZZ
@given(st.dictionaries(st.sampled_from(KEYS + SECTIONS), VALUES, max_size=3))
def test_any_value_of_any_key_is_taken_or_refused(tmp_path_factory, changes):
    assert_usable_or_refused(with_values(changes), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shard.min_seconds", 10**400),
        ("sam.points_per_side", 1 << 20_000),
        ("sam.checkpoint", "~nobody-here/x"),
        ("sam.checkpoint", "\0"),
        ("sam.checkpoint", "\ud800"),
        ("sam.checkpoint", "a" * 5000),
        ("images", "~nobody-here/x"),
        ("images", "a" * 5000),
    ],
    ids=range(8),
)
def test_what_chance_would_not_find_is_refused(tmp_path, key, value):
    with pytest.raises(UserError):
        completed = complete_config(with_values({"sam.model": "tiny"} | {key: value}))
        scan_collection(completed["images"], completed["image"]["suffixes"], tmp_path)
        configured_model_key(settings_of(completed), tmp_path)


@FUZZ
@given(VALUES)
def test_anything_else_is_refused(tmp_path_factory, value):
    assert_usable_or_refused(value, tmp_path_factory.getbasetemp())


TEXTS = [path.read_bytes() for path in sorted(CONFIG.glob("*.yaml"))]
ODDITIES = [
    b"*b",
    b"!!int abc",
    b"!!int ''",
    b"!!float x",
    b"!!bool x",
    b"!!timestamp x",
    b"2026-13-45",
    b"!!python/object/apply:os.system [id]",
    b"!!binary x",
    b"!!set {a}",
    b"!!omap [a: 1]",
    b"? [1]\n: 2",
    b"<<: 3",
    b"0x" + b"f" * 5000,
    b"9" * 5000,
    b"[" * 600,
    b"1:30",
    b"---\n",
    b"\t",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"\\ud800"',
    b"{",
    b": : :",
]


@FUZZ
@given(
    st.sampled_from(TEXTS),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 8), st.sampled_from(ODDITIES) | st.binary()),
        min_size=1,
        max_size=3,
    ),
)
def test_any_text_is_read_or_refused_by_its_files_name(tmp_path_factory, text, changes):
    path = tmp_path_factory.getbasetemp() / "my.yaml"
    for share, removed, inserted in changes:
        at = int(share * len(text))
        text = text[:at] + inserted + text[at + removed :]
    path.write_bytes(text)
    try:
        config = read_config(path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}: ")
        return
    assert complete_config(config) == config


@pytest.mark.parametrize("value", ODDITIES)
def test_an_odd_value_of_yaml_is_no_number(tmp_path, value):
    path = tmp_path / "my.yaml"
    path.write_bytes(b"images: demo\nsam:\n  points_per_side: " + value + b"\n")
    with pytest.raises(ConfigError, match=r"my\.yaml: "):
        read_config(path)
