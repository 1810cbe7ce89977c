"""Read an image file and prepare what the device needs. This runs in a worker process."""

import errno
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samfleet.config.settings import DisplaySettings, ImageSettings
from samfleet.content import digest_of_content, is_unchanged, recent_stat
from samfleet.digests import image_id
from samfleet.errors import UserError
from samfleet.images.display import Painter, find_painter, to_rgb
from samfleet.images.formats.decoding import (
    about_invalid,
    decode_image,
    finite_channels,
    with_warning,
)
from samfleet.images.formats.image import Image, ImageError, Limits
from samfleet.images.sources.large import FileWindows, large_image
from samfleet.images.sources.opened import close_source, is_read_whole, opened_source
from samfleet.images.sources.source import Reading, companions_of, part_of_folder, read_plane
from samfleet.images.windows import Box, WholeImage, Windows, read_bands
from samfleet.planes import ONLY, Plane, image_id_of_plane
from samfleet.statuses import Status

WHOLE_PIXELS = 1 << 24
"""An image of more pixels stays in its file if it is looked at in tiles and its format has windows."""


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image that was read.

    Attributes:
        image_id: identifies what was decoded.
        pixels: (height, width, channels), as stored.
        rgb: (height, width, 3) uint8, what SAM sees.
        is_color: whether the channels are red, green and blue.
        plane: which of several pages or planes was read, in words.
        warning: what is doubtful about what was read, in words.
        seconds: how long reading and decoding took.
        channels: their names, empty where one has none; or nothing, if no name is known.
        pixel_size_um: the side of a pixel in µm, if it is known.
        acquired: when the image was taken, in ISO 8601, if that is known.
    """

    image_id: str
    pixels: np.ndarray
    rgb: np.ndarray
    is_color: bool
    plane: str
    warning: str
    seconds: float
    channels: tuple[str, ...] = ()
    pixel_size_um: float | None = None
    acquired: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.rgb.shape[:2]
        return height, width

    @property
    def dtype(self) -> np.dtype:
        """Of a pixel."""
        return self.pixels.dtype

    @property
    def windows(self) -> Windows:
        """Gives any part of the pixels."""
        return WholeImage(self.pixels, self.is_color)

    def parts(self, boxes: Iterable[Box]) -> Iterator[np.ndarray]:
        """The parts of what SAM sees in the order of their boxes, (height, width, 3) uint8 each."""
        for x0, y0, x1, y1 in boxes:
            yield self.rgb[y0:y1, x0:x1]


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A large image that stays in its file, all of which was read once.

    Attributes:
        windows: gives any part of the pixels, in any process.
        painter: turns them into what SAM sees.
        image_id, is_color, plane, warning, seconds, channels, pixel_size_um, acquired: as in `ReadImage`.
    """

    image_id: str
    windows: Windows
    painter: Painter
    is_color: bool
    plane: str
    warning: str
    seconds: float
    channels: tuple[str, ...] = ()
    pixel_size_um: float | None = None
    acquired: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.windows.shape[:2]

    @property
    def dtype(self) -> np.dtype:
        """Of a pixel."""
        return self.windows.dtype

    def parts(self, boxes: Iterable[Box]) -> Iterator[np.ndarray]:
        """The parts of what SAM sees in the order of their boxes, (height, width, 3) uint8 each."""
        for x0, y0, x1, y1 in boxes:
            yield self.painter.paint(self.windows.read(y0, y1, x0, x1))


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


@dataclass(frozen=True, slots=True)
class Wish:
    """Which image of which files is read, as it was planned.

    Attributes:
        plane: which image of the file.
        image_id: its id; empty if none is expected.
        size, mtime_ns: of the file when it was identified.
        channels: (name, path) of the files that are joined as channels, instead of the file.
        companions: what `companions_digest` gave for the files of its set; empty if it is no file of one.
    """

    plane: Plane = ONLY
    image_id: str = ""
    size: int = 0
    mtime_ns: int = 0
    channels: tuple[tuple[str, Path], ...] = ()
    companions: str = ""


THE_FILE = Wish()
"""The one image of a file, whatever its content."""


def read_image(
    path: Path, image: ImageSettings, display: DisplaySettings, wish: Wish = THE_FILE
) -> ReadImage | Failure:
    """Read an image, identify what was read, and turn it into what SAM sees.

    A file of one image is read once, and identified by the bytes that are decoded. Of a file of several images, of a
    Zarr or of joined files nothing is read but this image; they are the ones that were planned if their sizes and
    times are, before and after it is read.

    Args:
        path: the file.
        image: the section `image` of the configuration.
        display: the section `display` of the configuration.
        wish: which image of the file.
    """
    start = time.perf_counter()
    identity = ""
    try:
        _check_regular(path)
        if wish.plane == ONLY and not (wish.channels or image.level) and is_read_whole(path):
            data = path.read_bytes()
            identity = image_id(data)
            decoded = decode_image(
                data,
                max_pixels=image.max_pixels,
                lookup_table=image.lookup_table,
                name=path.name,
            )
        else:
            decoded, identity = _read_plane(path, image, wish)
        rgb = to_rgb(
            decoded,
            colormap=display.colormap,
            percentiles=display.percentiles,
            channel=display.channel,
        )
    except FileChanged as error:
        return Failure(Status.CHANGED, str(error), True, "", time.perf_counter() - start)
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
        decoded.channels,
        decoded.pixel_size_um,
        decoded.acquired,
    )


def open_image(
    path: Path, image: ImageSettings, display: DisplaySettings, wish: Wish = THE_FILE
) -> ReadImage | OpenedImage | Failure:
    """Like `read_image`, but a large image of a format that has windows stays in its file.

    Its windows are read once: what is damaged is found out here, and so is how it is shown.
    """
    start = time.perf_counter()
    try:
        _check_regular(path)
        most = min(WHOLE_PIXELS, image.max_pixels)
        windows = large_image(path, wish.channels, wish.plane, _reading(image), most)
        if windows is None:
            return read_image(path, image, display, wish)
        identity = _planned_identity(path, wish)
        if wish.companions not in ("", windows.companions):
            raise FileChanged(_CHANGED)
        opened = _opened(windows, identity, display, start)
        windows.check()
        return opened
    except FileChanged as error:
        return Failure(Status.CHANGED, str(error), True, "", time.perf_counter() - start)
    except (ImageError, OSError, MemoryError) as error:
        return failure_of(
            error,
            wish.image_id or _identity(path, wish),
            no_memory="there is not enough memory to decode the image",
            seconds=time.perf_counter() - start,
        )


def _opened(
    windows: FileWindows, identity: str, display: DisplaySettings, start: float
) -> OpenedImage:
    finite = np.zeros(windows.shape[2], bool)

    def parts() -> Iterator[np.ndarray]:
        for band in read_bands(windows):
            np.logical_or(finite, finite_channels(band), out=finite)
            yield band

    painter = find_painter(
        parts,
        channels=windows.shape[2],
        names=windows.about.channels,
        dtype=windows.dtype,
        is_color=windows.is_color,
        colormap=display.colormap,
        percentiles=display.percentiles,
        channel=display.channel,
    )
    if painter.as_stored:
        for _ in parts():  # nothing has read it yet
            pass
    about = with_warning(windows.about, about_invalid(finite))
    return OpenedImage(
        identity,
        windows,
        painter,
        about.is_color,
        about.plane,
        about.warning,
        time.perf_counter() - start,
        about.channels,
        about.pixel_size_um,
        about.acquired,
    )


def _check_regular(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):
        # a pipe that came after planning would block for ever
        raise OSError(errno.EINVAL, "not a regular file")


def _identity(path: Path, wish: Wish) -> str:
    """The id of an image that cannot be read; empty if the file cannot be read either."""
    try:
        return _planned_identity(path, wish)
    except (OSError, FileChanged):
        return ""


def _planned_identity(path: Path, wish: Wish) -> str:
    """The id of an image of a file that is not read whole; the planned one if the file is as it was then.

    Raises:
        FileChanged: it is not.
    """
    paths = [file for _, file in wish.channels] or [path]
    if wish.image_id and recent_stat(paths)[:2] != (wish.size, wish.mtime_ns):
        raise FileChanged(_CHANGED)
    if wish.image_id:
        return wish.image_id
    digest, _ = digest_of_content(paths, [name for name, _ in wish.channels])
    return image_id_of_plane(digest, wish.plane)


class FileChanged(Exception):
    """The files of an image are not as they were when it was planned."""


_CHANGED = "the file changed after planning; run again"


def _read_plane(path: Path, image: ImageSettings, wish: Wish) -> tuple[Image, str]:
    """An image of a file that is not read whole, and its id.

    Raises:
        FileChanged: what was read, or could not be read, may be of another content.
    """
    paths = [file for _, file in wish.channels] or [path]
    found = recent_stat(paths)[:2]
    identity = _planned_identity(path, wish)
    source = part = None
    try:
        source = opened_source(path, wish.channels, found, _reading(image))
        part = part_of_folder(source, wish.plane)
        decoded = read_plane(source, wish.plane)
    finally:  # also where it could not be read
        if not is_unchanged(paths, found, part):
            close_source()
            raise FileChanged(_CHANGED)
        if source and wish.companions and companions_of(path, source) != wish.companions:
            close_source()
            raise FileChanged("a file of its set changed after planning; run again")
    return decoded, identity


def _reading(image: ImageSettings) -> Reading:
    return Reading(Limits(image.max_pixels), image.lookup_table, image.level)


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
