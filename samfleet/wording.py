"""Words that several messages use; standard library only."""

import os
from collections.abc import Sequence
from pathlib import Path


def counted(number: int, noun: str) -> str:
    """A number with its noun in the plural unless it is one: "1 shard", "2 shards"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def lasting(seconds: float) -> str:
    """A duration, roughly: "45 seconds", "12 minutes", "1 hour"."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * length:
            return counted(round(seconds / length), unit)
    return counted(round(seconds), "second")


def first_lines(lines: Sequence[str], most: int = 20) -> str:
    """The first of some lines, indented, each on a line of its own, and how many more there are."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "".join(f"\n  {line}" for line in [*lines[:most], *more])


def some_of(words: Sequence[str], most: int = 5) -> str:
    """The first of some words on one line, and how many more there are: "A1, A2 and 94 more"."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def looked_for(path: str | Path) -> str:
    """Where a relative path was looked for, to be put behind what is wrong with it; else empty."""
    return "" if os.path.isabs(path) else f" (looked for in {os.getcwd()})"
