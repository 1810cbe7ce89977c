"""A folder of results in Python: its images, its objects, and their masks and pixels."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from samfleet.cells import read_csv
from samfleet.config.settings import Settings, settings_of
from samfleet.errors import UserError
from samfleet.files import read_object
from samfleet.images.formats.image import ImageError
from samfleet.images.reading import OpenedImage, ReadImage, failure_of
from samfleet.opened.files import Files
from samfleet.opened.masks import label_strips, region_of
from samfleet.opened.tables import PLACE, Place, TableImage, table_images
from samfleet.results import SUMMARY_COLUMNS, objects_file, run_file, summary_file

_NUMBERS = {*SUMMARY_COLUMNS} - {
    *("image", "scene_name", "slice", "image_id", "status", "reason", "warning", "acquired"),
}
"""The columns of summary.csv that are numbers; the user's own stay as text."""

_AS_WRITTEN = {"scene", "time"}
"""Of these, those that may be words, where a table asked for an image that is not there."""

Row = Mapping[str, Any]
"""A row of one of the tables."""


class Results:
    """The results of a run.

    Args:
        folder: the folder of the results.
        images: the folder or table of the images, if it has moved since.

    Raises:
        UserError: there are no tables.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] = "results",
        images: str | os.PathLike[str] | None = None,
    ):
        self.folder = Path(folder)
        self._images = None if images is None else os.fspath(images)
        self._last: tuple[Place, ReadImage | OpenedImage] | None = None
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder (looked for in {Path().absolute()})")
        if not (summary_file(self.folder).is_file() and objects_file(self.folder).is_file()):
            raise UserError(f"{self.folder}: there are no tables; `samfleet run` makes them")

    @cached_property
    def images(self) -> pd.DataFrame:
        """The rows of summary.csv, with the text as it was before it was guarded for spreadsheets."""
        rows = pd.DataFrame(read_csv(summary_file(self.folder)), dtype=str)
        for name in _NUMBERS & {*rows.columns}:
            text = rows[name].replace("", None)
            numbers = pd.to_numeric(text, errors="coerce" if name in _AS_WRITTEN else "raise")
            in_words = text.notna() & numbers.isna()
            rows[name] = (
                numbers.astype(object).where(~in_words, text) if in_words.any() else numbers
            )
        return rows

    @cached_property
    def objects(self) -> pd.DataFrame:
        """The rows of objects.parquet."""
        return pd.read_parquet(objects_file(self.folder))

    def mask(self, row: Row) -> np.ndarray:
        """The mask of an object in its box, (bbox_height, bbox_width) bool.

        Args:
            row: a row of `objects`.
        """
        return region_of(row).pixels

    def pixels(self, row: Row) -> np.ndarray:
        """The pixels in the box of an object, as they are stored, (bbox_height, bbox_width, channels).

        Args:
            row: a row of `objects`.

        Raises:
            UserError: its file is not there, cannot be read, or has changed since.
        """
        x, y, width, height = (int(row[f"bbox_{name}"]) for name in ("x", "y", "width", "height"))
        return self._window(row, y, y + height, x, x + width)

    def image_pixels(self, row: Row) -> np.ndarray:
        """The pixels of an image, as they are stored, (height, width, channels); the last image is kept.

        Args:
            row: a row of `images` or `objects`.

        Raises:
            UserError: its file is not there, cannot be read, or has changed since.
        """
        height, width = self._read(row).size
        return self._window(row, 0, height, 0, width)

    def _window(self, row: Row, *box: int) -> np.ndarray:
        read = self._read(row)
        try:
            pixels = read.windows.read(*box)
            read.windows.check()
        except (ImageError, OSError) as error:  # of what stays in its file
            self._last = None
            raise UserError(f"{row['image']}: {failure_of(error, '').reason}") from error
        return pixels

    def _read(self, row: Row) -> ReadImage | OpenedImage:
        place = _place(row)
        if self._last is None or self._last[0] != place:
            read = self._files.read(self._of_place(place))
            if isinstance(read, str):
                raise UserError(f"{place[0]}: {read}")
            self._last = place, read
        return self._last[1]

    def labels(self, row: Row) -> np.ndarray:
        """The label image of an image, (height, width): 0 for background, else the `label` of the object that is seen.

        Args:
            row: a row of `images` or `objects`.
        """
        place = _place(row)
        image = self._of_place(place)
        rows = self.objects[self._places == place].to_dict("records")
        size = image.height, image.width
        return next(label_strips(rows, size, max(1, image.height)))

    @cached_property
    def settings(self) -> Settings:
        """The configuration that the tables were made under; its `images` is found as it is from here.

        Raises:
            UserError: run.json is not there.
        """
        try:
            settings = settings_of(read_object(run_file(self.folder))["configuration"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{run_file(self.folder)} says nothing of a configuration that this version of samfleet knows; run "
                "the workflow again"
            ) from error
        if self._images is not None:
            return replace(settings, images=self._images)
        folder = self.folder.absolute()
        known = [os.path.join(parent, settings.images) for parent in (*folder.parents[:2], Path())]
        found = [path for path in known if os.path.exists(path)]
        return replace(settings, images=found[0]) if found else settings

    @cached_property
    def _files(self) -> Files:
        return Files(self.settings, self.folder)

    @cached_property
    def _by_place(self) -> dict[Place, TableImage]:
        return {image.place: image for image in table_images(self.folder)}

    @cached_property
    def _places(self) -> pd.Series:
        """The place of every object."""
        return pd.Series(
            [_place(row) for row in self.objects[list(PLACE)].to_dict("records")], dtype=object
        )

    def _of_place(self, place: Place) -> TableImage:
        if place not in self._by_place:
            raise UserError(f"{self.folder} has no image {' '.join(filter(None, place))}")
        return self._by_place[place]


def _place(row: Row) -> Place:
    image, scene, time, plane = (_cell(row[name]) for name in PLACE)
    return image, scene, time, plane


def _cell(value: Any) -> str:
    """A cell as text, as summary.csv has it: whole numbers without a point, nothing for what is missing."""
    if value is None or pd.isna(value):
        return ""
    return str(int(value)) if isinstance(value, float) else str(value)
