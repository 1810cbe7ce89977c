"""Read an image from the bytes of its file, whatever the format."""

from __future__ import annotations

import logging
from contextvars import ContextVar

import numpy as np

from samfleet.images.formats.image import MAX_PIXELS, Image, ImageError, Limits, unreadable
from samfleet.images.formats.signatures import find_reader

_decoding: ContextVar[bool] = ContextVar("_decoding", default=False)
# tifffile logs what it cannot make sense of; a damaged file becomes an ImageError here instead.
logging.getLogger("tifffile").addFilter(lambda record: not _decoding.get())


def decode_image(data: bytes, *, page: int = 0, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image from the bytes of its file.

    Args:
        data: the whole file.
        page: which page, frame or plane (Z, T, ...) of a file with several, from 0.
        max_pixels: largest height x width; memory is bounded by 8 bytes for each such pixel.

    Raises:
        ImageError: whatever is wrong with the bytes, and nothing else.
    """
    if page < 0:
        raise ValueError(f"page must be 0 or more, not {page}")
    data = bytes(data)
    token = _decoding.set(True)
    try:
        pixels, is_color, plane = find_reader(data)(data, page, Limits(max_pixels))
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("too_large", "decoding needs more memory than there is") from error
    except Exception as error:  # decoders raise whatever they like on damaged data
        raise unreadable(f"the data are damaged ({type(error).__name__}: {error})"[:300]) from error
    finally:
        _decoding.reset(token)
    return Image(_native(pixels), is_color, plane)


def _native(pixels: np.ndarray) -> np.ndarray:
    """(height, width[, channels]) in native byte order, C-contiguous, without float16 and bool."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    dtype = np.dtype(np.float32) if pixels.dtype == np.float16 else pixels.dtype.newbyteorder("=")
    return np.require(pixels, dtype, ["C", "W", "O"])
