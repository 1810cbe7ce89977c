"""Tiles over an image that is larger than what the model should see at once, and how large they are.

Standard library only, since the planner counts tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

from samfleet.config.settings import SamSettings, in_micrometres

INPUT_SIZE = {"tiny": 512, "vit_b": 1024, "vit_l": 1024, "vit_h": 1024}
"""The longest side, in pixels, to which each model's images are scaled."""

BEST_DIAMETER = {"tiny": 28.0, "vit_b": 56.0, "vit_l": 56.0, "vit_h": 56.0}
"""Pixels of the model's input that an object should be wide. Whoever changes this raises ALGORITHM_VERSION.

Measured for tiny (benchmarks/README.md): F1 is highest where the median nucleus is 20 to 48 pixels wide, and
lower at 12 and above 54. Not measured for the official models: the same part of the input is assumed, which
is 3.5 patches for all of them, twice the spacing of 32 prompts along a side.
"""

ENOUGH_DIAMETER = {model: best * 6 / 7 for model, best in BEST_DIAMETER.items()}
"""Where objects are shown with fewer pixels of the model's input, a closer look finds more of them. Measured for tiny:
with less, objects are lost; with more, images take two or three times as long and hardly any object is gained."""

_SMALLEST_DIAMETER = 1.0
"""Pixels; nobody asks for objects that are smaller, so a pixel that makes them so is not what it says."""

SMALLEST_TILE = 32
"""Pixels; a tile that shows less than this has nothing to tell."""

_LARGEST_TILE = (1 << 31) - 1
"""Pixels; no side of an image that is read is longer, and the store has 32 bits for it."""

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; the latter two are outside."""

STRETCH = 15
"""A tile may be longer than asked by so many percent, so that a few surplus pixels cost no more tiles."""

_EDGE = 20 / 1024
"""How near to a tile's edge, as a part of its longer side, a mask counts as cut: SAM's own 20 pixels
for crops, at SAM's own size of input."""

_FAR = 1 << 40  # beyond any image


@dataclass(frozen=True)
class Tiles:
    """How images are divided into tiles.

    Attributes:
        size: pixels along each side of a tile, at least 1.
        overlap: pixels that neighbours share at least; None for a quarter of the tile, and never more
            than half of it.
        whole_image: whether the whole image is looked at as well, for objects that every tile cuts.
        enough: an object's diameter in pixels of the model's input. Where the median of what was found
            in a tile is shown smaller than this, tiles half as large are looked at there as well; None
            for a single look.
    """

    size: int
    overlap: int | None = None
    whole_image: bool = True
    enough: float | None = None

    def half(self) -> Tiles:
        """Tiles half as large, for a closer look."""
        return Tiles(max(1, self.size // 2), self.overlap, self.whole_image)

    def lay(self, size: tuple[int, int]) -> Layout:
        """The tiles of an image of (height, width) pixels."""
        overlap = self.size // 4 if self.overlap is None else self.overlap
        overlap = min(overlap, self.size // 2)
        rows, columns = (spread(length, self.size, overlap) for length in size)
        boxes = [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]
        return Layout(size, overlap, boxes)


@dataclass(frozen=True)
class Layout:
    """The tiles of an image.

    Attributes:
        size: (height, width) of the image.
        overlap: pixels that neighbours share at least.
        boxes: x0, y0, x1, y1 of every tile, row by row. Together they cover the image.
    """

    size: tuple[int, int]
    overlap: int
    boxes: list[Box]

    @property
    def longest_side(self) -> int:
        """Of a tile, in pixels; all tiles have the same size."""
        x0, y0, x1, y1 = self.boxes[0]
        return max(x1 - x0, y1 - y0)

    @property
    def tolerance(self) -> int:
        """How many pixels before an inner edge a mask counts as cut by it."""
        return max(1, round(_EDGE * self.longest_side))

    def inside(self, box: Box) -> tuple[tuple[int, int], tuple[int, int]]:
        """The part of a tile where masks are whole: up to the image's edges, but not to inner ones.

        Returns:
            The least x0, y0 and the greatest x1, y1 of a mask's box, both ends inside. At the image's
            edges there is no limit.
        """
        height, width = self.size
        x0, y0, x1, y1 = box
        margin = self.tolerance
        return (
            (x0 + margin if x0 > 0 else -_FAR, y0 + margin if y0 > 0 else -_FAR),
            (x1 - 1 - margin if x1 < width else _FAR, y1 - 1 - margin if y1 < height else _FAR),
        )


def spread(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Cover an axis with as few tiles as possible, evenly spread.

    Args:
        length: pixels of the axis.
        tile: pixels that a tile should have; it gets up to 15 % more where that saves a tile.
        overlap: pixels that neighbours share at least; at most half of `tile`.

    Returns:
        First pixel and end of every tile; all have the same length.
    """
    longest = tile * (100 + STRETCH) // 100
    if length <= longest:
        return [(0, length)]
    count = -((overlap - length) // (longest - overlap))  # rounded up
    needed = -(-(length + (count - 1) * overlap) // count)
    size = max(tile, needed)
    starts = [number * (length - size) // (count - 1) for number in range(count)]
    return [(start, start + size) for start in starts]


def tile_size_for(model: str, diameter: float) -> int:
    """Pixels of a tile in which the model sees objects of this diameter, in pixels, best."""
    size = INPUT_SIZE[model] * diameter / BEST_DIAMETER[model]
    return round(min(max(SMALLEST_TILE, size), _LARGEST_TILE))


class PixelSizeError(ValueError):
    """Tiles are asked for in µm, and the size of an image's pixels is not known, or cannot be right."""


def are_configured(settings: SamSettings) -> bool:
    """Whether images are divided into tiles."""
    return settings.tile_size is not None or settings.object_diameter is not None


def configured_tiles(settings: SamSettings, pixel_size_um: float | None = None) -> Tiles | None:
    """How an image is divided, if images are.

    Args:
        settings: the section of the configuration.
        pixel_size_um: the side of the image's pixels, which matters if objects are measured in µm.

    Raises:
        PixelSizeError: it is not known then, or cannot be right.
    """
    overlap, whole_image = settings.tile_overlap, settings.tile_whole_image
    model, diameter = settings.model, settings.object_diameter
    if (length := in_micrometres(diameter)) is not None:
        diameter = _in_pixels(length, pixel_size_um)
    if diameter == "auto":
        return Tiles(INPUT_SIZE[model], overlap, whole_image, enough=ENOUGH_DIAMETER[model])
    if diameter is not None:
        return Tiles(tile_size_for(model, float(diameter)), overlap, whole_image)
    if settings.tile_size is not None:
        return Tiles(settings.tile_size, overlap, whole_image)
    return None


def _in_pixels(length: float, pixel_size_um: float | None) -> float:
    """How many pixels a length in µm is."""
    if pixel_size_um is None:
        raise PixelSizeError(
            f"sam.object_diameter is {length:g} µm, but the image does not say how large its pixels are, or they are not square; set "
            "image.pixel_size_um, or give the diameter in pixels"
        )
    if length / pixel_size_um < _SMALLEST_DIAMETER:
        raise PixelSizeError(
            f"sam.object_diameter is {length:g} µm, less than a pixel of {pixel_size_um:g} µm; if the image "
            "is wrong about its pixels, set image.pixel_size_um"
        )
    if length / pixel_size_um > _LARGEST_TILE:
        raise PixelSizeError(
            f"sam.object_diameter is {length:g} µm, more than any image has pixels of {pixel_size_um:g} µm; if "
            "the image is wrong about its pixels, set image.pixel_size_um"
        )
    return length / pixel_size_um
