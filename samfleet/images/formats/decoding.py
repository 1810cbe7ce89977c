"""Decode an image from the bytes of its file: exactly, or not at all.

The reader is chosen by the content, never by the file's name. OpenCV, libjpeg and tifffile
silently fill in missing data, so every reader checks the size in the header before it decodes, and
checks that the data are complete.

Imports point one way: `decoding` -> `signatures` -> one module per format -> `image`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

import numpy as np

from samfleet.images.formats.image import (
    MAX_PIXELS,
    Image,
    ImageError,
    Limits,
    Wanted,
    one_line,
    unreadable,
)
from samfleet.images.formats.signatures import find_reader

_decoding: ContextVar[bool] = ContextVar("_decoding", default=False)
# tifffile logs what it cannot interpret; here a damaged file raises an ImageError instead.
logging.getLogger("tifffile").addFilter(lambda record: not _decoding.get())


def decode_image(
    data: bytes,
    *,
    page: int = 0,
    max_pixels: int = MAX_PIXELS,
    lookup_table: str = "auto",
    name: str = "",
) -> Image:
    """Decode an image from the bytes of its file.

    Args:
        data: the whole file.
        page: the page, frame or plane (Z, T, ...) to read, counted from 0.
        max_pixels: the largest height x width; memory is limited to 8 bytes for each such pixel.
        lookup_table: "auto", "applied" or "ignored", the setting `image.lookup_table`.
        name: of the file, by which an OME-TIFF of a set may call itself.

    Raises:
        ImageError: the image cannot be read. Nothing else is raised, whatever the bytes are.
    """
    with decoding():
        return finished(
            find_reader(data)(data, Wanted(page, lookup_table, name), Limits(max_pixels))
        )


@contextmanager
def decoding() -> Iterator[None]:
    """A block in which whatever a decoder raises on damaged data becomes an ImageError.

    OSErrors that the system raised (those with a number) pass, since they say nothing about the data.
    """
    token = _decoding.set(True)
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("too_large", "there is not enough memory to decode the image") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(error) from error
    except Exception as error:  # decoders raise anything on damaged data
        raise _damaged(error) from error
    finally:
        _decoding.reset(token)


def _damaged(error: Exception) -> ImageError:
    return unreadable(f"the data are damaged ({type(error).__name__}: {error})"[:300])


def finished(image: Image) -> Image:
    """An image as a reader gives it, with pixels as the attributes of `Image` describe them."""
    image = replace(image, pixels=normalised(image.pixels))
    return with_warning(image, about_invalid(finite_channels(image.pixels)))


def with_warning(image: Image, warning: str) -> Image:
    """An image with another warning, if there is one."""
    return replace(image, warning=one_line("; ".join(filter(None, [image.warning, warning])))[:500])


def finite_channels(pixels: np.ndarray) -> np.ndarray:
    """Which channels of (height, width, channels) pixels have a value somewhere: (channels,) bool."""
    if pixels.dtype.kind != "f":
        return np.ones(pixels.shape[2], bool)
    return np.isfinite(pixels).any(axis=(0, 1))


def about_invalid(finite: np.ndarray) -> str:
    """A warning if an image or one of its channels has no value at all; `finite_channels` tells which have."""
    if not finite.any():
        return "all pixels are NaN or infinite"
    listed = ", ".join(map(str, np.flatnonzero(~finite).tolist()))
    return f"all pixels of channel {listed} are NaN or infinite" if listed else ""


def normalised(pixels: np.ndarray) -> np.ndarray:
    """The pixels as the attributes of `Image` describe them; float16 becomes float32."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    dtype = np.dtype(np.float32) if pixels.dtype == np.float16 else pixels.dtype.newbyteorder("=")
    return np.require(pixels, dtype, ["C", "W", "O"])
