"""The folder that an export writes to: never outside of it, and never over what others put there."""

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from samfleet.digests import digest_of, image_id_of_file
from samfleet.errors import UserError
from samfleet.exports.origins import Origins
from samfleet.files import atomic_path
from samfleet.images.sources.large import ChangedFile
from samfleet.marker import kind_of, listed, mark, note
from samfleet.wording import counted, first_lines


class ExportFolder:
    """A folder of files that an export has written; where a format asks for it, of folders in their place.

    It and every folder in it hold a marker, so that no image is looked for there. Markers also list what was
    written, by a digest of the content: a file that somebody else put there or has changed since is not replaced.
    What each file was made from is noted beside, so that it is not made again.
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
        self.origins = Origins(root)
        self._listed: dict[Path, set[tuple[str, str]]] = {}
        self._noting = threading.Lock()
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

    @contextlib.contextmanager
    def writing(self, name: str, origin: str = "", *, folder: bool = False) -> Iterator[Path]:
        """Write a file or a folder: a temporary path, which gets its name when the block succeeds.

        Args:
            name: relative to the root.
            origin: digest of what it is made from, for `is_current`.
            folder: whether the block makes a folder.

        Raises:
            UserError: it cannot be written.
        """
        path = self.root / name
        try:
            mark(self.root, self.kind)
            marker = mark(path.parent, self.kind)
            with _temporary_folder(path) if folder else atomic_path(path) as temporary:
                yield temporary
                entry = (_digest(temporary), path.name)
                # before the name is taken, so that what is there is always known to be the export's own
                with self._noting:
                    if entry not in self._entries(path.parent):
                        note(marker, *entry)
                        self._entries(path.parent).add(entry)
            self.origins.note(name, origin)
        except ChangedFile:  # what is written is read from it
            raise
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error

    def write(self, name: str, content: bytes, origin: str = "") -> None:
        """Write a file; arguments and errors are those of `writing`."""
        with self.writing(name, origin) as temporary:
            temporary.write_bytes(content)

    def is_current(self, name: str, origin: str) -> bool:
        """Whether a file is there and was made from what has this digest; others may have changed it since."""
        return self.origins.are(name, origin)

    def finish(self) -> None:
        """Keep what the files were made from, for the next export."""
        if kind_of(self.root) == self.kind:
            self.origins.save()

    def remove(self, name: str) -> None:
        """Remove a file if it is the export's own."""
        path = self.root / name
        if os.path.lexists(path) and self._is_own(name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.origins.forget(name)

    def keep_only(self, names: Iterable[str]) -> int:
        """Remove all files that are the export's own but for these, and return how many."""
        kept, removed = set(names), 0
        for folder, inner, _ in os.walk(self.root):
            inside = Path(folder).relative_to(self.root)
            own = sorted({name for _, name in self._entries(self.root / inside)})
            inner[:] = [name for name in inner if name not in own]
            for name in (str(inside / name) for name in own):
                if name not in kept and os.path.lexists(self.root / name) and self._is_own(name):
                    self.remove(name)
                    removed += 1
        return removed

    def _is_own(self, name: str) -> bool:
        path = self.root / name
        if path.is_symlink() or not path.exists():
            return False
        return self.origins.is_unchanged(name) or (_digest(path), path.name) in self._entries(
            path.parent
        )

    def _entries(self, folder: Path) -> set[tuple[str, str]]:
        """Digest and name of everything that the marker of a folder lists."""
        if folder not in self._listed:
            self._listed[folder] = listed(folder)
        return self._listed[folder]


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, which takes its place when the block succeeds."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".samfleet-") as around:
        made, replaced = Path(around) / "new", Path(around) / "old"
        made.mkdir()
        yield made
        if os.path.lexists(path):
            path.rename(replaced)
        made.rename(path)


def _digest(path: Path) -> str:
    """Digest of a file's content, or of the names and contents in a folder."""
    if path.is_file():
        return image_id_of_file(path)[0]
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest_of([[str(file.relative_to(path)), image_id_of_file(file)[0]] for file in files])
