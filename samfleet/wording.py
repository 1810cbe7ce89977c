"""Words that several messages use; standard library only."""

import os
from pathlib import Path


def counted(number: int, noun: str) -> str:
    """A number with its noun in the plural unless it is one: "1 shard", "2 shards"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def located(path: str | Path) -> str:
    """A path as it was given and, if it is relative, the folder in which it was looked for."""
    return str(path) if os.path.isabs(path) else f"{path} (in {os.getcwd()})"
