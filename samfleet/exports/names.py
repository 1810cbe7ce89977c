"""Names of the files of an export: one for each image, for any names of images."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from samfleet.digests import digest_of
from samfleet.files import escape_name, unescape_name

_LONGEST = 255
"""Bytes of a name, on the file systems in use."""


def export_names(images: Iterable[str], suffix: str) -> dict[str, str]:
    """A relative path for the file of every image.

    It is the image's own path without what leads out of a folder (`/`, `..`), and with `suffix` after it unless
    the path ends so. Where that cannot be (a name is not valid, too long or begins with a dot, or the path is
    another's, also where case does not count) a digest of the image's path is put before the suffix. A path does
    not depend on the order of the images.

    Args:
        images: paths of images, as the tables write them.
        suffix: of the export's files, such as ".png".
    """
    plain = {image: _plain(image, suffix) for image in images}
    own = {image: _own(image, suffix) for image in plain}
    counts = Counter(key for image in plain for key in {_key(plain[image]), _key(own[image])})
    paths = [*plain.values(), *own.values()]
    folders = {_key(str(parent)) for path in paths for parent in PurePosixPath(path).parents}
    return {
        image: path
        if _is_usable(path) and counts[_key(path)] == 1 and _key(path) not in folders
        else own[image]
        for image, path in plain.items()
    }


def _inside(image: str) -> list[str]:
    """The parts of an image's path, without those that lead out of a folder."""
    path = os.path.normpath(unescape_name(image))
    return [part for part in path.split("/") if part not in ("", os.pardir)]


def _plain(image: str, suffix: str) -> str:
    path = "/".join(_inside(image))
    return path if path.lower().endswith(suffix) else path + suffix


def _is_usable(path: str) -> bool:
    return escape_name(path) == path and not any(
        part.startswith(".") or len(os.fsencode(part)) > _LONGEST for part in path.split("/")
    )


def _own(image: str, suffix: str) -> str:
    *folders, name = map(_printable, _inside(image))
    end = f"-{digest_of(image)[:12]}{suffix}"
    stem = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    # half of the longest name, since some characters take more bytes in another encoding
    kept = os.fsencode(stem)[: _LONGEST // 2].decode("utf-8", "ignore")
    return "/".join([*folders, kept + end])


def _printable(part: str) -> str:
    """A part of a path with an underscore for everything that may not be in a name."""
    part = "".join(c if escape_name(c) == c else "_" for c in part)
    return "_" + part[1:] if part.startswith(".") else part


def _key(path: str) -> str:
    """The same for paths that are the same on file systems that ignore case or kinds of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
