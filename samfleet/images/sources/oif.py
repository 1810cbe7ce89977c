"""Olympus' OIF and OIB, read by `oiffile`. An OIF has its planes in the folder NAME.oif.files beside it."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.images.formats.image import Image, check_level, unreadable, unsupported
from samfleet.images.sources.axes import CHANNELS, Axes, place_name
from samfleet.images.sources.source import Reading, image_of
from samfleet.images.units import iso_time, micrometres, pixel_side
from samfleet.planes import Companion, Description, Scene


class OifSource:
    """An open OIF or OIB."""

    def __init__(self, path: Path, reading: Reading):
        import oiffile

        check_level(reading.level)
        self._reading, self._path = reading, path
        try:
            self._file = oiffile.OifFile(path)
        except (oiffile.OifFileError, KeyError) as error:
            if path.suffix.lower() in (".oib", ".oif"):
                raise
            raise unsupported("the content is an OLE2 file that is no OIB (ZVI, ...); export it as OME-TIFF") from error  # fmt: skip
        if not self._file.series:
            raise unreadable(f"its planes are gone: there is none in {path.name}.files")
        series = self._file.series[0]
        # the last planes may be gone, so the metadata say how many there are
        said = dict(zip(self._file.axes, self._file.shape, strict=True))
        sizes = {
            str(axis): max(int(size), int(said.get(str(axis), 0)))
            for axis, size in zip(series.axes, series.shape, strict=False)
        }
        self._files = dict(zip(map(tuple, series.indices), series, strict=True)) if sizes else {}
        self._only = next(iter(series))
        image: Any = self._file.mainfile["Reference Image Parameter"]
        self._axes = Axes(sizes | {"Y": int(image["ImageHeight"]), "X": int(image["ImageWidth"])})
        self._dtype = np.dtype(self._file.dtype)
        self._places = self._axes.places()

    @cached_property
    def description(self) -> Description:
        """What the file holds."""
        main: Any = self._file.mainfile
        image = main["Reference Image Parameter"]
        sides = (micrometres(image.get(f"{side}ConvertValue"), str(image.get(f"{side}Unit", ""))) for side in ("Width", "Height"))  # fmt: skip
        common = main.get("Acquisition Parameters Common", {})
        scenes = tuple(
            Scene(
                name=place_name(place),
                times=self._axes.times,
                slices=self._axes.slices,
                channels=self._channels(),
                height=self._axes.sizes["Y"],
                width=self._axes.sizes["X"],
                dtype=str(self._dtype),
                pixel_size_um=pixel_side(*sides),
                acquired=iso_time(common.get("ImageCaputreDate")),
                problem=self._axes.problem,
            )
            for place in self._places
        )
        return Description(scenes, tuple(self._companions()))

    def _companions(self) -> list[Companion]:
        folder = self._path.with_name(f"{self._path.name}.files")
        if self._file.is_oib or not folder.is_dir():
            return []
        files = sorted(file for file in folder.iterdir() if file.is_file())
        return [
            Companion(f"{folder.name}/{file.name}", (at := file.stat()).st_size, at.st_mtime_ns)
            for file in files
        ]

    def _channels(self) -> tuple[str, ...]:
        """The dyes, or the names of the detectors."""
        main: Any = self._file.mainfile
        count = self._axes.channels
        found = [main.get(f"Channel {number} Parameters", {}) for number in range(1, count + 1)]
        names = ((each.get("DyeName"), each.get("CH Name")) for each in found)
        return tuple(next((str(n) for n in pair if n and n != "None"), "") for pair in names)

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane."""
        axes = self._axes
        axes.check(self._reading.limits, self._dtype.itemsize)
        at = axes.index(self._places[scene], time, slice)
        over = [axis for axis in axes.sizes if axis in CHANNELS]
        parts = []
        for channel in np.ndindex(*(axes.sizes[axis] for axis in over)):
            where = at | dict(zip(over, channel, strict=True))
            key = tuple(where[axis] for axis in axes.sizes if axis in where)
            name = self._files.get(key) if self._files else self._only
            if name is None:
                raise unreadable(
                    "a channel of this plane is not in the file, though the metadata name it"
                )
            plane = self._file.asarray(name)
            if plane.shape != (axes.sizes["Y"], axes.sizes["X"]):
                size = " x ".join(map(str, plane.shape))
                raise unreadable(f"a plane is {size}, and the metadata name another size")
            parts.append(plane)
        about = self.description.scenes[scene]
        return image_of(about, np.stack(parts, axis=2))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
