"""Where the workflow's own files lie; standard library only: the Snakefile imports this."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CARRIED = _PACKAGE / "_workflow"

HOME = _CARRIED if _CARRIED.is_dir() else _PACKAGE.parent
"""The clone, or in an installed wheel the copy that `setup.py` has put into the package."""
