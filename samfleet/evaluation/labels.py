"""Find and read label images."""

import itertools
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from samfleet.digests import image_id
from samfleet.errors import UserError
from samfleet.files import escape_name, unescape_name
from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import MAX_PIXELS, ImageError
from samfleet.wording import counted

LABEL_SUFFIXES = (
    ".png",
    ".tif",
    ".tiff",
    ".PNG",
    ".TIF",
    ".TIFF",
    ".Png",
    ".Tif",
    ".Tiff",
    ".ome.tif",
    ".ome.tiff",
)
LABEL_ENDINGS = ("_labels", "_label", "_cp_masks", "_masks", "_mask")
"""Before the suffix they say that a file is a label image, also beside the images; Cellpose writes two of them."""

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_WHITE = (255, 65535)
_CRUMBLED = 0.2
"""The share of crumbs in the pixels of edges above which a label image is no label image."""
_SHORT = 1.75
"""Neighbours of the same value that a pixel of a crumb has, in the mean; in a line of eight pixels."""
_NEITHER = "neither a PNG nor a TIFF"


class LabelError(UserError):
    """A label image cannot be used; the message names it."""


@dataclass(frozen=True)
class LabelFile:
    """A label image that was found for an image.

    Attributes:
        path: the file.
        same_name: whether its relative path is that of the image, suffix included.
        is_image: whether it is an image of the collection, too.
    """

    path: Path
    same_name: bool
    is_image: bool


def find_label_image(
    image: str, folder: Path, images: Mapping[str, Collection[str]] | None = None
) -> LabelFile:
    """Find the label image of an image.

    A file with the content of an image of the collection is no label image, whatever leads to it: a link, a copy,
    a path out of `folder`, labels among the images. It is one if its name ends so (`LABEL_ENDINGS`), or if it was
    taken for an image because `folder` lies within the collection's; but never of the image whose content it has,
    unless it is black, which says the same.

    Args:
        image: relative path of the image, as the tables write it.
        folder: the folder of label images.
        images: for the id of every content of the collection the paths of its images.

    Raises:
        LabelError: there is none.
    """
    passed = ""
    for relative, ending in _places(image):
        path = folder / relative
        if not os.path.isfile(path):
            continue
        content = _content(path)
        if path.suffix.lower() not in LABEL_SUFFIXES and not content.startswith(_SIGNATURES):
            passed = passed or f": {path.name} is {_NEITHER}"
            continue
        names = images.get(image_id(content), ()) if images else ()
        if _is_meant(image, names, relative, ending) or _is_black(path):
            return LabelFile(path, relative == _normalised(image), bool(names))
        passed = passed or f": {path.name} is an image of the collection"
    raise LabelError(f"no label image{passed}")


def _is_meant(image: str, names: Collection[str], relative: Path, ending: str) -> bool:
    """Whether a file is meant as a label image, although images of the collection may have its content."""
    place = escape_name(str(relative))
    within = place not in names and any(
        name.endswith(f"/{place}") and not _leads_out(_normalised(name)) for name in names
    )
    return not names or (image not in names and (bool(ending) or within))


def _is_black(path: Path) -> bool:
    try:
        return not read_label_image(path).any()
    except LabelError:
        return False


def _places(image: str) -> Iterator[tuple[Path, str]]:
    """Where a label image may be, below the folder of labels, and which ending its name has."""
    for path in _relative_paths(image):
        yield path, ""
        for suffix in LABEL_SUFFIXES:
            yield path.with_name(path.name + suffix), ""
        stems = [path.stem]
        if path.stem.lower().endswith(".ome"):  # a.ome.tif is called a
            stems.append(path.stem[: -len(".ome")])
        for stem in stems:
            for ending in ("", *LABEL_ENDINGS):
                for suffix in LABEL_SUFFIXES:
                    yield path.with_name(stem + ending + suffix), ending


def _relative_paths(image: str) -> list[Path]:
    """The relative path of an image; of one outside the collection's folder the last parts, the longest first."""
    path = _normalised(image)
    if not _leads_out(path):
        return [path]
    parts = [part for part in path.parts if part not in (os.pardir, path.anchor)]
    return [Path(*parts[start:]) for start in range(len(parts))]


def _normalised(image: str) -> Path:
    return Path(os.path.normpath(unescape_name(image)))


def _leads_out(path: Path) -> bool:
    return path.is_absolute() or path.parts[0] == os.pardir


def own_label_name(image: str) -> str:
    """A relative path under which a label image is found for this image alone."""
    return escape_name(f"{_relative_paths(image)[0]}.tif")


def read_label_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A label image as integers of shape (height, width), upright as EXIF or TIFF states.

    The values are those that the file holds: a palette or an inverted scale changes only how they look.

    Raises:
        LabelError: if it is no PNG or TIFF, is damaged, has several channels or pages, or has values that are
            not labels.
    """
    path = Path(path)
    data = _content(path)
    if not data.startswith(_SIGNATURES):
        raise LabelError(f"{path.name} cannot be read: it is {_NEITHER}")
    try:
        image = decode_image(data, max_pixels=max_pixels, lookup_table="ignored", name=path.name)
    except ImageError as error:
        raise LabelError(f"{path.name} cannot be read: {error.reason}") from error
    if image.pixels.shape[2] > 1 or image.plane:
        found = image.plane or counted(image.pixels.shape[2], "channel")
        raise LabelError(f"{path.name} has {found}: a label image has a single plane")
    labels = image.pixels[:, :, 0]
    # NaN fails every comparison
    possible = labels.size and labels.min() >= 0 and float(labels.max()) < 2**63
    if not possible or not np.array_equal(labels, np.floor(labels)):
        raise LabelError(f"{path.name} has values that are not labels (0, 1, 2, …)")
    return labels.astype(np.int64)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path.name} cannot be read: {error.strerror}") from error


def binary_remark(labels: np.ndarray) -> str:
    """A remark if a label image looks like a mask, whose objects have no numbers of their own; else nothing.

    That is one value beside 0, which is the largest of 8 or 16 bits or is in several parts (of 8-connected pixels);
    or values that have crumbled at the edges, as interpolation and lossy compression make them.
    """
    values = np.unique(labels[labels > 0])
    if len(values) > 1:
        return (
            f"looks like a mask that was interpolated or compressed with losses: its {len(values)} values crumble "
            "at the edges, and each is scored as one object; give each object a number, and change the size of "
            "label images without interpolation"
            if _is_crumbled(labels, values)
            else ""
        )
    if not len(values):
        return ""
    parts = cv2.connectedComponents((labels > 0).astype(np.uint8))[0] - 1
    if parts == 1 and values[0] not in _WHITE:
        return ""
    return (
        f"looks like a binary mask: {values[0]} is its only value, so its {counted(parts, 'part')} and any objects "
        "that touch are scored as one object; give each object a number"
    )


def _is_crumbled(labels: np.ndarray, values: np.ndarray) -> bool:
    """Whether much of the objects' edges are crumbs.

    A crumb lies neither in a square of 3 × 3 pixels of its own value nor beside one, and touches another object, as
    only the rare object does that is both tiny or thin and crowded. Crumbs are short, so a thin object that crosses
    others is none; they may be long, as the even edges of rectangles are, only around white.

    Args:
        labels: (height, width), not negative.
        values: those above 0, sorted.
    """
    rank = np.searchsorted(values, labels, side="right").astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    inner = cv2.erode(rank, square) == cv2.dilate(rank, square)
    solid = cv2.dilate(inner.astype(np.uint8), square) > 0
    least = _CRUMBLED * np.count_nonzero((rank > 0) & ~inner)
    if np.count_nonzero((rank > 0) & ~solid) <= least:  # as in nearly all label images
        return False
    beside, touching, bare = (np.zeros_like(solid) for _ in range(3))
    alike = np.zeros(rank.shape, np.uint8)
    height, width = rank.shape
    around, solid_around = np.pad(rank, 1), np.pad(solid, 1)
    for y, x in itertools.product(range(3), repeat=2):
        if (y, x) != (1, 1):
            window = np.s_[y : y + height, x : x + width]
            same = around[window] == rank
            beside |= same & solid_around[window]
            touching |= ~same & (around[window] > 0)
            bare |= around[window] == 0
            alike += same
    crumbs = (rank > 0) & ~solid & ~beside & touching
    if np.count_nonzero(crumbs) <= least:
        return False
    white = (labels == values[-1]) & ~inner
    fringed = np.count_nonzero(white & bare) < np.count_nonzero(white) / 2
    return bool(alike[crumbs].mean() < _SHORT or (values[-1] in _WHITE and fringed))
