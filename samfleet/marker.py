"""The marker in every folder that samfleet makes, by which it knows its own again. Standard library only.

What lies in such a folder is never taken for the images of a collection.
"""

from pathlib import Path

from samfleet.files import write_atomic

MARKER = ".samfleet"
_WORDS = "samfleet made this folder. It looks for no images here, and may replace its own files.\n"


def mark(folder: Path, kind: str) -> Path:
    """Make a folder, with a marker that says what it holds, and return the marker's path."""
    marker = folder / MARKER
    if not marker.exists():
        write_atomic(marker, f"{kind}\n{_WORDS}")
    return marker


def kind_of(folder: Path) -> str:
    """What a folder that samfleet made holds ("results", "overlays"); empty if it made none there."""
    try:
        with (folder / MARKER).open(encoding="utf-8", errors="replace") as file:
            return file.readline().strip() or "something unknown"
    except OSError:
        return ""
