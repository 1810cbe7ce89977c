"""The page: one file that needs no other and asks for none."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = (
    *("vendor/d3.min.js", "vendor/plot.min.js", "vendor/tabulator.min.js"),
    *(
        "filtering.js",
        "proposals.js",
        "dom.js",
        "charts.js",
        "explorer.js",
        "viewer.js",
        "report.js",
    ),
)
_STYLES = ("vendor/tabulator.min.css", "report.css")
_SOURCE_MAP = re.compile(r"(//# sourceMappingURL=\S+|/\*# sourceMappingURL=\S+ \*/)\s*$")


@cache
def _asset(name: str) -> str:
    text = (_ASSETS / name).read_text(encoding="utf-8")
    return _SOURCE_MAP.sub("", text)


def content_policy(scripts: list[str]) -> str:
    """What the page may do: run these scripts, and show pictures that it holds. It may ask for nothing."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def packed(data: object) -> str:
    """Data for the page's scripts: JSON, compressed, base64."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def make_page(facts: Mapping[str, Any], data: object, pictures: list[str]) -> str:
    """The report as HTML.

    Args:
        facts: what stands in the page itself; text is escaped.
        data: what its scripts need, without NaN.
        pictures: WebP, base64.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["duration"] = duration
    environment.filters["setting"] = setting
    scripts = [_asset(name) for name in _SCRIPTS]
    return environment.get_template("report.html.jinja").render(
        facts,
        scripts=scripts,
        styles=[_asset(name) for name in _STYLES],
        policy=content_policy(scripts),
        data=packed(data),
        pictures=json.dumps(pictures),
    )


def number(value: float | None, digits: int = 0) -> str:
    """A number with thin spaces between thousands; a dash for none."""
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", "\u2009")


def setting(value: object) -> str:
    """A value as a configuration writes it; a dash for none."""
    if value is None or value == "":
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)


def duration(seconds: float | None) -> str:
    """A time in its two largest units."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
