"""Words that several messages use; standard library only."""

import os
from pathlib import Path


def counted(number: int, noun: str) -> str:
    """A number with its noun in the plural unless it is one: "1 shard", "2 shards"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def looked_for(path: str | Path) -> str:
    """Where a relative path was looked for, to be put behind what is wrong with it; else empty."""
    return "" if os.path.isabs(path) else f" (looked for in {os.getcwd()})"
