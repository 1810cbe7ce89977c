"""Atomic writing, tab-separated tables and reversible file names; standard library only."""

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from samfleet.errors import UserError


class TableError(UserError):
    """One of samfleet's own tables is damaged; the message names it and says what to do.

    Attributes:
        reason: the message without what to do.
    """

    def __init__(self, path: str | Path, reason: str):
        self.reason = f"{path}: {reason}"
        super().__init__(f"{self.reason}; delete it and run again")


_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")


def escape_name(name: str) -> str:
    """A file name as printable text for a table: no control character, valid UTF-8.

    A backslash becomes ``\\\\``, a byte that is not UTF-8 (a surrogate escape in Python's
    decoding) ``\\xNN`` and any other control character ``\\uNNNN``. `unescape_name` reverses it.
    """
    if name.isascii() and name.isprintable() and "\\" not in name:  # nearly every name
        return name

    def replace(match: re.Match) -> str:
        code = ord(match[0])
        if match[0] == "\\":
            return "\\\\"
        if 0xDC80 <= code <= 0xDCFF:
            return f"\\x{code - 0xDC00:02x}"
        return f"\\u{code:04x}"

    return _UNSAFE.sub(replace, name)


def unescape_name(text: str) -> str:
    """The file name that `escape_name` turned into `text`."""
    if "\\" not in text:
        return text

    def replace(match: re.Match) -> str:
        if match[1]:
            return chr(0xDC00 + int(match[1], 16))
        return chr(int(match[2], 16)) if match[2] else "\\"

    return _ESCAPE.sub(replace, text)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """A block that writes to `path`: a full or read-only disk is reported under that name.

    The system names no file when a write fails, and that of a temporary one when it cannot be made.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


def must_be_writable(folder: str | Path) -> None:
    """Check that files can be made in a folder, if it exists; nothing is left in it.

    Raises:
        OSError: they cannot; it names the folder.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(folder))
    if os.path.isdir(folder):
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), os.fspath(folder)) from error


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file in the folder of `path`, renamed to `path` when the block succeeds.

    The file is flushed to the disk first. If the block fails, it is removed and `path` stays as it is.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".tmp"
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # mkstemp's 0600 would hide results from colleagues
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def exclusive(path: str | Path) -> Iterator[None]:
    """Wait for, and hold, the lock of a file, where the file system has locks."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_leftovers(folder: str | Path, older_than: float) -> None:
    """Remove temporary files that a killed process left in a folder.

    Args:
        older_than: seconds; younger files are kept, since a process may still be writing them.
    """
    for path in Path(folder).glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > older_than:
                path.unlink()


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path`, complete or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def read_object(path: str | Path) -> dict:
    """The JSON object in a file; an empty one if there is no such file or it cannot be read."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_rows(path: str | Path, header: tuple[str, ...], rows: Iterable[tuple]) -> None:
    """Write a tab-separated table atomically; the caller escapes names."""
    write_lines(path, ("\t".join(map(str, row)) + "\n" for row in itertools.chain([header], rows)))


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write a text atomically, whose lines need not be in memory."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(lines)


def read_rows(
    path: str | Path, header: tuple[str, ...], appended: bool = False
) -> Iterator[list[str]]:
    """The rows of a table that `write_rows` wrote; none if the file does not exist.

    Args:
        appended: whether the table is written row by row. Lines that an interruption left
            incomplete are then skipped.

    Raises:
        TableError: the table is damaged or has another header.
    """
    path = Path(path)
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="\n") as file:
        try:
            first = file.readline()
            if first != "\t".join(header) + "\n" and (first.endswith("\n") or not appended):
                raise TableError(path, f"not a table of {', '.join(header)}")
            for number, line in enumerate(file, start=2):
                fields = line[:-1].split("\t")
                if line.endswith("\n") and len(fields) == len(header):
                    yield fields
                elif not appended:
                    raise TableError(path, f"line {number} is damaged")
        except UnicodeDecodeError as error:
            raise TableError(path, f"damaged, {error.reason}") from error
