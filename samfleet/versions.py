"""Versions of what computes the results; standard library only."""

import platform
from importlib import metadata

_DISTRIBUTIONS = (
    "samfleet",
    "snakemake",
    "torch",
    "segment-anything",
    "numpy",
    "opencv-python-headless",
    "tifffile",
    "imagecodecs",
    "pycocotools",
    "pandas",
    "pyarrow",
    "scipy",
)


def samfleet_version() -> str:
    """The version of this package; empty for a clone that is not installed."""
    try:
        return metadata.version("samfleet")
    except metadata.PackageNotFoundError:
        return ""


def installed_versions() -> dict[str, str]:
    """The version of Python and of each distribution that is installed here."""
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
