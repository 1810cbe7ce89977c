"""Digests of images, values and tables; standard library only."""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20
_WHOLE, _PART = 256_000_000, 16_000_000
_LINES = 256


def image_id(data: bytes) -> str:
    """The id of an image: BLAKE2b-128 of its file's bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def image_id_of_file(path: str | Path) -> tuple[str, int]:
    """The image id and the number of bytes of a file, read in chunks."""
    with open(path, "rb") as file:
        return digest_of_file(file)[:2]


def digest_of_file(file: BinaryIO) -> tuple[str, int, bytes]:
    """The image id and the number of bytes of an open file, read in chunks, and its first chunk."""
    first = chunk = file.read(_CHUNK)
    digest, size = hashlib.blake2b(chunk, digest_size=16), len(chunk)
    while len(chunk) == _CHUNK and (chunk := file.read(_CHUNK)):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size, first


def fingerprint_of_file(path: str | Path) -> str:
    """BLAKE2b-128 of a file's size and content; of more than 256 MB, of its beginning and its end."""
    size = Path(path).stat().st_size
    digest = hashlib.blake2b(f"{size} ".encode(), digest_size=16)
    with open(path, "rb") as file:
        if size <= _WHOLE:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        else:
            digest.update(file.read(_PART))
            file.seek(-_PART, os.SEEK_END)
            digest.update(file.read(_PART))
    return digest.hexdigest()


def digest_of(value: object) -> str:
    """BLAKE2b-128 of a value's canonical JSON, 32 hexadecimal digits."""
    return image_id(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def digest_of_rows(rows: Iterable[tuple]) -> str:
    """BLAKE2b-128 of a table, computed in parts, so that the table need not be in memory."""
    return digest_of_lines("\t".join(map(str, row)) + "\n" for row in rows)


def digest_of_lines(lines: Iterable[str]) -> str:
    """BLAKE2b-128 of a text, computed in parts."""
    digest = hashlib.blake2b(digest_size=16)
    lines = iter(lines)
    while part := "".join(itertools.islice(lines, _LINES)):
        digest.update(part.encode())
    return digest.hexdigest()
