"""What the files of an export were made from, in a hidden table of its folder.

Standard library only, since the Snakefile asks whether all of them are there.
"""

import os
from pathlib import Path

from samfleet.files import TableError, escape_name, read_rows, unescape_name, write_rows

_NAME = ".samfleet-origins.tsv"
_HEADER = ("file", "made_from", "size_and_time")


class Origins:
    """For each file of an export a digest of what it was made from, and its size and time when it was written."""

    def __init__(self, root: Path):
        """Read the table of a folder; a damaged one is as good as none."""
        self._root = root
        self._known: dict[str, tuple[str, str]] = {}
        try:
            for name, origin, state in read_rows(root / _NAME, _HEADER):
                self._known[unescape_name(name)] = (origin, state)
        except (TableError, OSError):
            self._known.clear()

    def note(self, name: str, origin: str) -> None:
        """Note a file that was just written."""
        self._known[name] = (origin, self._state(name))

    def forget(self, name: str) -> None:
        """A file is not there any more."""
        self._known.pop(name, None)

    def are(self, name: str, origin: str) -> bool:
        """Whether a file is there and was made from what has this digest, whatever others have made of it since."""
        return self._known.get(name, ("", ""))[0] == origin != "" and self._is_there(name)

    def is_unchanged(self, name: str) -> bool:
        """Whether a file is as it was written, by its size and time."""
        return name in self._known and self._known[name][1] == self._state(name)

    def missing(self) -> int:
        """How many of the files are not there any more."""
        return sum(not self._is_there(name) for name in self._known)

    def save(self) -> None:
        """Write the table."""
        rows = ((escape_name(name), *known) for name, known in sorted(self._known.items()))
        write_rows(self._root / _NAME, _HEADER, rows)

    def _is_there(self, name: str) -> bool:
        return os.path.lexists(self._root / name)

    def _state(self, name: str) -> str:
        try:
            found = os.lstat(self._root / name)
        except OSError:
            return "none"
        size = 0 if os.path.isdir(self._root / name) else found.st_size
        return f"{size} {found.st_mtime_ns}"
