"""Digests: image ids, weights files, values and tables; standard library only."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from samfleet.files import write_atomic

_CHUNK = 1 << 20


def image_id(data: bytes) -> str:
    """The identity of a picture: BLAKE2b-128 of its file's bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def image_id_of_file(path: str | Path) -> tuple[str, int]:
    """The image id and the number of bytes of a file, read in chunks."""
    digest, size = hashlib.blake2b(digest_size=16), 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def digest_of(value: object) -> str:
    """BLAKE2b-128 of a value's canonical JSON, 32 hexadecimal digits."""
    return image_id(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def digest_of_rows(rows: Iterable[tuple]) -> str:
    """BLAKE2b-128 of a table, row by row: a million rows need no memory."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(("\t".join(map(str, row)) + "\n").encode())
    return digest.hexdigest()


def weights_digest(path: str | Path, cache: str | Path) -> str:
    """SHA-256 of a weights file, kept in the JSON file `cache` for as long as its stat holds.

    Raises:
        FileNotFoundError: there is no such file.
    """
    stat = Path(path).stat()
    key = f"{Path(path).absolute()} {stat.st_size} {stat.st_mtime_ns}"
    try:
        known = dict(json.loads(Path(cache).read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        known = {}
    if key not in known:
        with open(path, "rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        write_atomic(cache, json.dumps(known, indent=1))
    return known[key]
