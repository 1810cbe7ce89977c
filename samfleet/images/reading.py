"""Read an image file and prepare what the device needs. This runs in a worker process."""

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samfleet.config.settings import DisplaySettings, ImageSettings
from samfleet.digests import image_id
from samfleet.errors import UserError
from samfleet.images.display import to_rgb
from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import ImageError
from samfleet.statuses import Status


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image that was read.

    Attributes:
        image_id: identifies the bytes that were decoded.
        pixels: (height, width, channels), as stored.
        rgb: (height, width, 3) uint8, what SAM sees.
        is_color: whether the channels are red, green and blue.
        plane: which of several pages or planes was read, in words.
        warning: what is doubtful about what was read, in words.
        seconds: how long reading and decoding took.
    """

    image_id: str
    pixels: np.ndarray
    rgb: np.ndarray
    is_color: bool
    plane: str
    warning: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an image has no candidates.

    Attributes:
        status: one of `samfleet.statuses`.
        reason: a sentence for the user.
        transient: whether another attempt may succeed.
        image_id: identifies the bytes that were read; empty if none were.
        seconds: how long the attempt took.
    """

    status: str
    reason: str
    transient: bool
    image_id: str = ""
    seconds: float = 0.0


def read_image(path: Path, image: ImageSettings, display: DisplaySettings) -> ReadImage | Failure:
    """Read a file once, identify its bytes, decode them and turn them into what SAM sees.

    Args:
        path: the file.
        image: the section `image` of the configuration.
        display: the section `display` of the configuration.
    """
    start = time.perf_counter()
    identity = ""
    try:
        if (
            path.exists() and not path.is_file()
        ):  # a pipe that came after planning would block for ever
            raise OSError(errno.EINVAL, "not a regular file")
        data = path.read_bytes()
        identity = image_id(data)
        decoded = decode_image(
            data,
            page=image.page,
            max_pixels=image.max_pixels,
            lookup_table=image.lookup_table,
            name=path.name,
        )
        rgb = to_rgb(
            decoded,
            colormap=display.colormap,
            percentiles=display.percentiles,
            channel=display.channel,
        )
    except (ImageError, OSError, MemoryError) as error:
        seconds = time.perf_counter() - start
        return failure_of(
            error,
            identity,
            no_memory="there is not enough memory to decode the image",
            seconds=seconds,
        )
    seconds = time.perf_counter() - start
    return ReadImage(
        identity,
        decoded.pixels,
        rgb,
        decoded.is_color,
        decoded.plane,
        decoded.warning,
        seconds,
    )


def failure_of(
    error: Exception, image_id: str, *, no_memory: str = "", seconds: float = 0.0
) -> Failure:
    """What an exception means for the image that it happened to.

    Args:
        error: the exception.
        image_id: of the bytes that were read.
        no_memory: what to say where memory ran out.
        seconds: for reading.
    """
    if isinstance(error, ImageError):
        return Failure(error.status, error.reason, False, image_id, seconds)
    if isinstance(error, MemoryError):
        return Failure(Status.OUT_OF_MEMORY, no_memory, True, image_id, seconds)
    if isinstance(error, OSError):
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
        return Failure(Status.UNREADABLE, reason, True, image_id, seconds)
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return Failure(Status.ERROR, reason, True, image_id, seconds)


def path_of(root: Path, name: str) -> Path:
    """The file that a path of the manifest means; `root` does not matter if it is absolute."""
    return Path(os.path.join(root, name))
