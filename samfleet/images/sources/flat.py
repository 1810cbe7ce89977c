"""Formats whose files hold one image: PNG, JPEG, JPEG 2000, WebP, BMP. They are read whole."""

from functools import cached_property
from pathlib import Path

from samfleet.images.formats.decoding import decode_image
from samfleet.images.formats.image import Image, check_level
from samfleet.images.sources.source import Reading
from samfleet.planes import Description, Scene


class FlatSource:
    """A file with one image."""

    def __init__(self, path: Path, reading: Reading):
        self._path, self._reading = path, reading
        check_level(reading.level)

    @cached_property
    def _image(self) -> Image:
        reading = self._reading
        return decode_image(
            self._path.read_bytes(),
            max_pixels=reading.limits.max_pixels,
            lookup_table=reading.lookup_table,
            name=self._path.name,
        )

    @cached_property
    def description(self) -> Description:
        """What the file holds."""
        height, width, channels = self._image.pixels.shape
        scene = Scene(
            channels=("",) * channels,
            height=height,
            width=width,
            dtype=str(self._image.pixels.dtype),
            is_color=self._image.is_color,
        )
        return Description((scene,))

    def read(self, scene: int, time: int, slice: int) -> Image:
        """The image."""
        return self._image

    def close(self) -> None:
        """Nothing is open."""
