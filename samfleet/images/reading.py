"""Read an image file and prepare what the device needs. This runs in a worker process."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samfleet.digests import image_id
from samfleet.images.display import to_rgb
from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import ImageError
from samfleet.statuses import OUT_OF_MEMORY, UNREADABLE


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image that was read.

    Attributes:
        image_id: identifies the bytes that were decoded.
        pixels: (height, width, channels), as stored.
        rgb: (height, width, 3) uint8, what SAM sees.
        is_color: whether the channels are red, green and blue.
        plane: which of several pages or planes was read, in words.
        seconds: how long reading and decoding took.
    """

    image_id: str
    pixels: np.ndarray
    rgb: np.ndarray
    is_color: bool
    plane: str
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


def read_image(path: Path, image_settings: dict, display: dict) -> ReadImage | Failure:
    """Read a file once, identify its bytes, decode them and turn them into what SAM sees.

    Args:
        path: the file.
        image_settings: the section `image` of the configuration.
        display: the section `display` of the configuration.
    """
    start = time.perf_counter()
    identity = ""
    try:
        data = path.read_bytes()
        identity = image_id(data)
        image = decode_image(
            data, page=image_settings["page"], max_pixels=image_settings["max_pixels"]
        )
        rgb = to_rgb(
            image,
            colormap=display["colormap"],
            percentiles=tuple(display["percentiles"]),
            channel=display["channel"],
        )
    except ImageError as error:
        status, reason, transient = error.status, error.reason, False
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
        status, transient = UNREADABLE, True
    except MemoryError:
        status, reason, transient = (
            OUT_OF_MEMORY,
            "there is not enough memory to decode the image",
            True,
        )
    else:
        seconds = time.perf_counter() - start
        return ReadImage(identity, image.pixels, rgb, image.is_color, image.plane, seconds)
    return Failure(status, reason, transient, identity, time.perf_counter() - start)


def path_of(root: Path, name: str) -> Path:
    """The file that a path of the manifest means; `root` does not matter if it is absolute."""
    return Path(os.path.join(root, name))
