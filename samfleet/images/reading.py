"""An image from its file to what the device needs; runs in a worker process."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samfleet.digests import image_id
from samfleet.images.display import to_rgb
from samfleet.images.formats import ImageError, decode_image
from samfleet.statuses import OUT_OF_MEMORY, UNREADABLE


@dataclass(frozen=True, slots=True)
class ReadImage:
    """What was read of an image.

    Attributes:
        image_id: of the bytes that were decoded.
        pixels: (height, width, channels) as stored.
        rgb: (height, width, 3) uint8, what SAM sees.
        is_color: whether the channels are red, green and blue.
        plane: which part of a multi-page file it is, in words.
        seconds: for reading and decoding.
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
        status: as in `samfleet.statuses`.
        reason: in words.
        transient: whether another try may succeed.
        image_id: of the bytes that were read, empty if there were none.
        seconds: for reading.
    """

    status: str
    reason: str
    transient: bool
    image_id: str = ""
    seconds: float = 0.0


def read_image(path: Path, image_settings: dict, display: dict) -> ReadImage | Failure:
    """Read a file once, identify its bytes, decode them and make SAM's view of them.

    Args:
        path: the file.
        image_settings: the configuration's `image`.
        display: the configuration's `display`.
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
        status, reason, transient = OUT_OF_MEMORY, "no memory to decode it", True
    else:
        seconds = time.perf_counter() - start
        return ReadImage(identity, image.pixels, rgb, image.is_color, image.plane, seconds)
    return Failure(status, reason, transient, identity, time.perf_counter() - start)


def path_of(root: Path, name: str) -> Path:
    """The file of a manifest's path; absolute names stay as they are."""
    return Path(os.path.join(root, name))
