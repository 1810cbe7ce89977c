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


def note(marker: Path, digest: str, name: str) -> None:
    """Let a marker list a file of its folder, by the digest of its content."""
    with marker.open("a", encoding="utf-8") as file:
        file.write(f"{digest}  {name}\n")


def listed(folder: Path) -> set[tuple[str, str]]:
    """Digest and name of everything that the marker of a folder lists."""
    try:
        lines = (folder / MARKER).read_text("utf-8", "replace").split("\n")
    except OSError:
        return set()
    fields = (line.partition("  ") for line in lines)
    return {(digest, name) for digest, _, name in fields if name}
