"""What the files of an export are made from: an image of the tables, its objects and perhaps its pixels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samfleet.images.reading import OpenedImage, ReadImage
from samfleet.opened.tables import TableImage

Row = dict[str, Any]
"""An object: the columns of objects.parquet that a kind of export asks for."""


@dataclass(frozen=True, slots=True)
class Source:
    """An image with its objects.

    Attributes:
        image: the image.
        objects: its objects, in the order of the table.
        measurements: the columns of the objects that are measurements, if the kind of export writes them.
        read: its file, read again, if the kind of export needs pixels.
    """

    image: TableImage
    objects: list[Row]
    measurements: tuple[str, ...] = ()
    read: ReadImage | OpenedImage | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of export that makes files for each image.

    Attributes:
        name: as in `exports` of the configuration.
        columns: the columns of objects.parquet that it needs.
        parts: for every suffix the function that writes such a file; an image's main file comes first.
        measured: whether it needs the columns of all measurements, too.
        needs_pixels: whether images are read.
        makes_folders: whether the main file is a folder.
    """

    name: str
    columns: tuple[str, ...]
    parts: dict[str, Callable[[Path, Source], None]]
    measured: bool = False
    needs_pixels: bool = False
    makes_folders: bool = False


@dataclass(frozen=True, slots=True)
class Whole:
    """A kind of export that makes one file of all images.

    Attributes:
        name: as in `exports` of the configuration.
        columns: the columns of objects.parquet that it needs beside those of all measurements.
        file: the name of its file.
        write: writes it, given the columns that are measurements.
    """

    name: str
    columns: tuple[str, ...]
    file: str
    write: Callable[[Path, Iterable[Source], Sequence[str]], None]
