"""The gallery's pictures: images as SAM was shown them, made small, and the outlines of all candidates."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from samfleet.config.settings import Settings
from samfleet.images.formats.image import ImageError
from samfleet.images.reading import failure_of
from samfleet.opened.files import read_as_detected
from samfleet.opened.masks import Region, region_of
from samfleet.plan.manifest import ManifestRow
from samfleet.reduction import fitted
from samfleet.report.selection import Row
from samfleet.summary.candidates import stored_groups

_BYTES, _MOST_BYTES = 6_000_000, 150_000
"""Of all pictures, and of one of them."""

_SIDES = (1024, 768, 640, 512, 400, 320, 256)
"""Pixels of the longer side; the first of which a picture is small enough is taken, or the last."""

_QUALITIES = (75, 40)
"""WebP's; the second for a picture that is too large even with the shortest side."""

SUBPIXELS = 4
"""Coordinates of outlines are whole numbers of this part of a picture's pixel."""


@dataclass(frozen=True)
class Picture:
    """An image of the gallery.

    Attributes:
        data: WebP, base64.
        width, height: in pixels.
        scale: pixels of the picture for each one of the image.
    """

    data: str
    width: int
    height: int
    scale: float


def shown_image(
    settings: Settings, row: Row, planned: ManifestRow | None, companions: str = ""
) -> np.ndarray | str:
    """What SAM was shown of an image, or why there is nothing to show.

    Args:
        settings: the configuration.
        row: of the summary.
        planned: the image in the manifest.
        companions: as for `read_as_detected`.

    Returns:
        (height, width, 3) uint8 with red first, as large as the largest picture at most.
    """
    size = int(row["height"]), int(row["width"])
    read = read_as_detected(settings, row["image"], row["image_id"], size, planned, companions)
    if isinstance(read, str):
        return read
    try:
        return fitted(read, _SIDES[0])
    except (ImageError, OSError) as error:  # of what stays in its file
        return failure_of(error, "").reason


def make_picture(rgb: np.ndarray, image_side: int, pictures: int) -> Picture:
    """A picture of an image, small enough for a page with so many pictures.

    Args:
        rgb: the image or a copy on a smaller scale, (height, width, 3) uint8, red first.
        image_side: pixels of the image's longer side.
        pictures: how many the page has.
    """
    room = min(_MOST_BYTES, _BYTES // max(1, pictures))
    longest = max(rgb.shape[:2])
    small = _shrunk(rgb, _SIDES[-1])
    density = len(_encoded(small, _QUALITIES[0])) / (small.shape[0] * small.shape[1])
    for side in _SIDES:
        pixels = rgb.shape[0] * rgb.shape[1] * min(1.0, side / longest) ** 2
        # a larger picture takes fewer bytes a pixel, so this leaves none out that would fit by far
        if side > _SIDES[-1] and density * pixels > 1.5 * room:
            continue
        small = _shrunk(rgb, side)
        data = _encoded(small, _QUALITIES[0])
        if len(data) <= room:
            break
    else:
        data = _encoded(small, _QUALITIES[1])
    height, width = small.shape[:2]
    scale = max(height, width) / image_side
    return Picture(base64.b64encode(data).decode(), width, height, scale)


def _shrunk(rgb: np.ndarray, side: int) -> np.ndarray:
    """An image whose longer side is at most `side` pixels."""
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def _encoded(rgb: np.ndarray, quality: int) -> bytes:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def outline(region: Region, scale: float) -> str:
    """The outline of a mask as the data of an SVG path, in `SUBPIXELS` of the picture; empty for an empty mask.

    Args:
        region: the mask in its box.
        scale: pixels of the picture for each one of the image.
    """
    if not region.pixels.size:
        return ""
    mask = np.ascontiguousarray(region.pixels, np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return "".join(_path(contour[:, 0] + (region.x, region.y), scale) for contour in contours)


def _path(points: np.ndarray, scale: float) -> str:
    """A closed path through the centres of pixels, (n, 2) x and y."""
    simple = cv2.approxPolyDP(
        ((points + 0.5) * scale).astype(np.float32)[:, np.newaxis], 0.35, closed=True
    )[:, 0]
    corners = np.rint(simple * SUBPIXELS).astype(int)
    steps = np.diff(corners, axis=0)
    moved = " ".join(f"{dx} {dy}" for dx, dy in steps)
    return f"M{corners[0][0]} {corners[0][1]}" + (f"l{moved}" if moved else "l0 0") + "z"


_OF_MASKS = [
    *("image_id", "status", "dtype", "image_maximum", "candidate", "width", "height", "rle"),
    *("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
]


def outlines(
    store: Path, best: dict[str, tuple[str, str]], scales: Mapping[str, float]
) -> dict[str, list[str]]:
    """For each image id the outlines of its candidates, in the order of their numbers.

    Args:
        store: the store's folder of the model key.
        best: as `samfleet.store.segments.best_results` returns it.
        scales: by image id, pixels of the picture for each one of the image.
    """
    chosen = {identity: best[identity] for identity in scales if identity in best}
    found: dict[str, list[str]] = {identity: [] for identity in scales}
    for _, group in stored_groups(store, chosen, _OF_MASKS):
        for row in group.to_pylist():
            if row["candidate"] is not None:
                scale = scales[row["image_id"]]
                found[row["image_id"]].append(outline(region_of(row), scale))
    return found


def draw_paths(picture: Picture, paths: Iterable[str]) -> np.ndarray:
    """A picture with outlines, (height, width, 3) uint8 with blue first."""
    data = np.frombuffer(base64.b64decode(picture.data), np.uint8)
    drawn = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    shift = SUBPIXELS.bit_length() - 1  # OpenCV takes fixed-point coordinates
    for path in paths:
        for part in path.split("z")[:-1]:
            corners = np.array([int(number) for number in re.findall(r"-?\d+", part)])
            corners = np.cumsum(corners.reshape(-1, 2), axis=0).astype(np.int32)
            cv2.polylines(drawn, [corners], True, (194, 240, 55), 1, cv2.LINE_AA, shift)
    return drawn
