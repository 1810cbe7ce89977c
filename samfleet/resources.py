"""Where the files that come with samfleet are; standard library only."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CARRIED = _PACKAGE / "_workflow"

ROOT = _CARRIED if _CARRIED.is_dir() else _PACKAGE.parent
"""The folder of the Snakefile: the clone, or for an installed wheel the copy that setup.py made."""

SCHEMA_FILE = ROOT / "config" / "config.schema.yaml"
DEMO_FOLDER = ROOT / "resources" / "demo"
TINY_WEIGHTS = ROOT / "resources" / "tiny" / "sam_tiny.pth"
