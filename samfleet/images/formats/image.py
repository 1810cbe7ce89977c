"""What readers take, return and raise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_PIXELS = 268_435_456
BYTES_PER_PIXEL = 8  # what an image of max_pixels may take: four 16-bit channels


class ImageError(Exception):
    """An image that cannot be read.

    Attributes:
        status: "unreadable" (damaged, incomplete), "unsupported" (a kind that is not read) or
            "too_large" (more pixels or memory than allowed).
        reason: why, in plain words, on one line.
    """

    def __init__(self, status: str, reason: str) -> None:
        reason = "".join(c if c.isprintable() else " " for c in reason)
        reason = " ".join(reason.split())
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


@dataclass(frozen=True)
class Image:
    """A decoded image.

    Attributes:
        pixels: (height, width, channels), C-contiguous, native byte order, in the values and the
            dtype of the file (see docs/images.md for the few exceptions).
        is_color: the channels are red, green, blue, in this order.
        plane: what was read of a file with several pages or planes, in words; else "".
    """

    pixels: np.ndarray
    is_color: bool
    plane: str


@dataclass(frozen=True)
class Limits:
    """How large an image may be, in pixels and in memory."""

    max_pixels: int

    def check(self, height: int, width: int, channels: int, itemsize: int) -> None:
        """Raise too_large when the image is larger than allowed, unreadable when it is empty."""
        if height < 1 or width < 1 or channels < 1:
            raise unreadable(f"the image is empty: {width} x {height} pixels")
        if height * width > self.max_pixels:
            raise ImageError(
                "too_large",
                f"{width} x {height} pixels are more than image.max_pixels ({self.max_pixels})",
            )
        needed = height * width * channels * itemsize
        if needed > self.max_pixels * BYTES_PER_PIXEL:
            raise ImageError(
                "too_large",
                f"{width} x {height} pixels of {channels} channels take {needed} bytes, more than "
                f"{BYTES_PER_PIXEL} times image.max_pixels ({self.max_pixels})",
            )


def unreadable(reason: str) -> ImageError:
    return ImageError("unreadable", reason)


def unsupported(reason: str) -> ImageError:
    return ImageError("unsupported", reason)


def only_page(page: int, what: str, pages: int = 1) -> None:
    """Raise unsupported unless there is a page of this number."""
    if page >= pages:
        count = "1 page" if pages == 1 else f"{pages} pages"
        raise unsupported(f"page {page} was asked for, counted from 0, but {what} has {count}")
