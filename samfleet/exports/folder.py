"""The folder that an export writes to: never outside of it, and never over what others put there."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from samfleet.digests import image_id as content_digest
from samfleet.digests import image_id_of_file
from samfleet.errors import UserError
from samfleet.files import write_atomic
from samfleet.marker import kind_of, listed, mark, note
from samfleet.wording import counted, first_lines


class ExportFolder:
    """A folder of files that an export has written.

    It and every folder in it hold a marker, so that no image is looked for there. Markers also list what was
    written, by a digest of the content: a file that somebody else put there or has changed since is not replaced.
    """

    def __init__(self, root: Path, kind: str):
        """Take a folder that is new, empty, or was made by an export of the same kind.

        Args:
            root: the folder; it is not made yet.
            kind: what it holds, such as "overlays".

        Raises:
            UserError: it is anything else; the message says what to do.
        """
        self.root = root
        self.kind = kind
        self._listed: dict[Path, set[tuple[str, str]]] = {}
        found = kind_of(root)
        if found == kind:
            return
        if found:
            raise UserError(f"{root} is samfleet's folder of {found}; name another folder")
        try:
            entries = os.listdir(root)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{root}: {error.strerror}; name another folder") from error
        if any(not name.startswith(".") for name in entries):
            raise UserError(
                f"{root} holds files that samfleet did not write; name a folder that is new or empty"
            )

    def check(self, names: Iterable[str]) -> None:
        """Check that each of these files is absent or the export's own.

        Raises:
            UserError: some are not, or a folder in the path of one is a link.
        """
        names = list(names)
        folders = {parent for name in names for parent in PurePosixPath(name).parents[:-1]}
        blocked = [
            f"{folder} (not a folder)"
            for folder in map(str, sorted(folders))
            if os.path.lexists(self.root / folder)
            and (os.path.islink(self.root / folder) or not os.path.isdir(self.root / folder))
        ]
        if not blocked:
            blocked = [n for n in names if os.path.lexists(self.root / n) and not self._is_own(n)]
        if blocked:
            raise UserError(
                f"{self.root}: samfleet did not write {counted(len(blocked), 'file')} there, or others have changed "
                f"what it wrote; move them away or name another folder:{first_lines(blocked, most=10)}"
            )

    def write(self, name: str, content: bytes) -> None:
        """Write a file, after noting in the marker that it is the export's own.

        Raises:
            UserError: it cannot be written.
        """
        path = self.root / name
        try:
            mark(self.root, self.kind)
            marker = mark(path.parent, self.kind)
            entry = (content_digest(content), path.name)
            if entry not in self._entries(path.parent):
                note(marker, *entry)
                self._entries(path.parent).add(entry)
            write_atomic(path, content)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error

    def remove(self, name: str) -> None:
        """Remove a file if it is the export's own."""
        if os.path.lexists(self.root / name) and self._is_own(name):
            (self.root / name).unlink()

    def keep_only(self, names: Iterable[str]) -> int:
        """Remove all files that are the export's own but for these, and return how many."""
        kept, removed = set(names), 0
        for folder, _, files in os.walk(self.root):
            inside = Path(folder).relative_to(self.root)
            for name in sorted(str(inside / file) for file in files):
                if name not in kept and self._is_own(name):
                    (self.root / name).unlink()
                    removed += 1
        return removed

    def _is_own(self, name: str) -> bool:
        path = self.root / name
        if path.is_symlink() or not path.is_file():
            return False
        return (image_id_of_file(path)[0], path.name) in self._entries(path.parent)

    def _entries(self, folder: Path) -> set[tuple[str, str]]:
        """Digest and name of everything that the marker of a folder lists."""
        if folder not in self._listed:
            self._listed[folder] = listed(folder)
        return self._listed[folder]
