"""Where the files lie that come with samfleet; standard library only."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the Snakefile."""

SCHEMA_FILE = ROOT / "config" / "config.schema.yaml"
DEMO_FOLDER = ROOT / "resources" / "demo"
TINY_WEIGHTS = ROOT / "resources" / "tiny" / "sam_tiny.pth"
