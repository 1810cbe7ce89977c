"""What every reader takes, returns and raises."""

from dataclasses import dataclass

import numpy as np

MAX_PIXELS = 268_435_456
_BYTES_PER_PIXEL = 8  # an image of max_pixels may have four 16-bit channels


def one_line(text: str) -> str:
    """Words that may quote a file, on one printable line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


class ImageError(Exception):
    """An image cannot be read.

    Attributes:
        status: "unreadable" (the file is damaged or incomplete), "unsupported" (this kind of image
            is not read) or "too_large" (it needs more pixels or memory than allowed).
        reason: a sentence for the user, on one line.
    """

    def __init__(self, status: str, reason: str) -> None:
        reason = one_line(reason)
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


@dataclass(frozen=True)
class Image:
    """A decoded image.

    Attributes:
        pixels: (height, width, channels), C-contiguous and in native byte order, with the values
            and the dtype of the file (docs/images.md lists the few exceptions).
        is_color: whether the channels are red, green and blue, in this order.
        plane: which of several pages or planes was read, in words; empty if there is only one.
        warning: what is doubtful about what was read, in words.
        channels: their names, empty where one has none; or nothing, if no name is known.
        pixel_size_um: the side of a pixel in µm, if it is known.
        acquired: when the image was taken, in ISO 8601, if that is known.
    """

    pixels: np.ndarray
    is_color: bool
    plane: str = ""
    warning: str = ""
    channels: tuple[str, ...] = ()
    pixel_size_um: float | None = None
    acquired: str = ""


@dataclass(frozen=True)
class Limits:
    """How large an image may be, in pixels and in memory."""

    max_pixels: int

    def check(self, height: int, width: int, channels: int, itemsize: int) -> None:
        """Raise ImageError if the image is larger than allowed or has no pixels."""
        if height < 1 or width < 1 or channels < 1:
            raise unreadable(f"the image has no pixels: its size is {width} x {height}")
        if height * width > self.max_pixels:
            raise ImageError(
                "too_large",
                f"{width} x {height} pixels exceed image.max_pixels ({self.max_pixels})",
            )
        needed = height * width * channels * itemsize
        if needed > self.max_pixels * _BYTES_PER_PIXEL:
            raise ImageError(
                "too_large",
                f"{width} x {height} pixels of {channels} channels need {needed} bytes, more than "
                f"{_BYTES_PER_PIXEL} times image.max_pixels ({self.max_pixels})",
            )


@dataclass(frozen=True)
class Wanted:
    """What is read of a file.

    Attributes:
        page: the page, frame or plane (Z, T, ...), counted from 0.
        lookup_table: "auto", "applied" or "ignored", the setting `image.lookup_table`.
        name: of the file, by which one that belongs to a set may call itself; empty if it is not known.
    """

    page: int = 0
    lookup_table: str = "auto"
    name: str = ""


class MissingReader(ImageError):
    """The package that reads a format is not installed, or too old; this says nothing about the file."""


def missing_reader(needs: str) -> MissingReader:
    """An error that says what a file needs to be read."""
    return MissingReader(
        "unsupported", f"{needs}; install that and run with rehash=True, or export it as OME-TIFF"
    )


def unreadable(reason: str) -> ImageError:
    return ImageError("unreadable", reason)


def unsupported(reason: str) -> ImageError:
    return ImageError("unsupported", reason)


def check_page(page: int, pages: int = 1) -> None:
    """Raise ImageError unless the file has a page of this number."""
    if not 0 <= page < pages:
        count = "1 page" if pages == 1 else f"{pages} pages"
        raise unsupported(f"the file has {count}, and none is number {page} (counted from 0)")


def check_level(level: int, levels: int = 1) -> None:
    """Raise ImageError unless there is a resolution of this number."""
    if level >= levels:
        count = "one resolution" if levels == 1 else f"{levels} resolutions"
        raise unsupported(f"it has {count}, and image.level is {level} (counted from 0)")
