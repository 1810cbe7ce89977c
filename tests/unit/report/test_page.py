"""The page's parts: libraries as their packages ship them, data without loss, numbers in words."""

import base64
import gzip
import hashlib
import json
import re

import pytest

from samfleet.report.page import _ASSETS, _SCRIPTS, _STYLES, duration, number, packed, setting

VENDOR = _ASSETS / "vendor"


def test_libraries_are_those_that_their_packages_ship():
    lines = re.findall(
        r"^\| `(\S+)` .*, `(\S+)` \| `([0-9a-f]{64})` \|$",
        (VENDOR / "README.md").read_text(),
        re.MULTILINE,
    )
    listed = {name: digest for name, _, digest in lines}
    used = {
        name.removeprefix("vendor/") for name in (*_SCRIPTS, *_STYLES) if name.startswith("vendor/")
    }
    assert listed.keys() == used
    for name, licence, digest in lines:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest
        assert "Permission" in (VENDOR / licence).read_text()


@pytest.mark.parametrize("name", _SCRIPTS)
def test_a_script_does_not_end_its_element(name):
    assert "</script" not in (_ASSETS / name).read_text(encoding="utf-8").lower()


def test_numbers_are_packed_without_loss():
    values = [0.1 + 0.2, 1 / 3, 5e-324, 2.0**53 - 1, None, "ä </script>"]
    assert json.loads(gzip.decompress(base64.b64decode(packed(values)))) == values
    with pytest.raises(ValueError, match="JSON"):
        packed([float("nan")])


def test_settings_are_written_as_a_configuration_writes_them():
    values = (True, False, 0, 0.5, "auto", None, "", [1, 2])
    assert [setting(value) for value in values] == [
        *("true", "false", "0", "0.5", "auto", "–", "–", "[1, 2]")
    ]


def test_numbers_and_times_in_words():
    assert (number(1234567), number(None), number(0.1234, 2)) == (
        "1\u2009234\u2009567",
        "–",
        "0.12",
    )
    assert (duration(None), duration(3.21), duration(61), duration(7322)) == (
        "–",
        "3.2 s",
        "1 min 1 s",
        "2 h 2 min",
    )
