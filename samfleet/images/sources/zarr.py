"""OME-Zarr (0.1 to 0.5): images, plates, and the layout of bioformats2raw. Its arrays are read by `zarr`.

The metadata are JSON and are read as such, since a plate has thousands of arrays.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samfleet.images.formats.image import Image, ImageError, check_level, unreadable, unsupported
from samfleet.images.sources.axes import Axes, height_width_channels, place_name, real
from samfleet.images.sources.source import MOST_CHUNK_BYTES, PartWindows, Reading, image_of
from samfleet.images.units import micrometres, pixel_side
from samfleet.planes import Description, PixelSide, Scene

_OLD_AXES = "tczyx"
"""Of versions before 0.3, which name none."""
_MOST_SERIES = 100_000
_Span = slice  # methods here have an argument of that name
_ALL = _Span(None)


@dataclass(frozen=True)
class _Array:
    """An image of the store.

    Attributes:
        name: of the scene.
        path: of the array, within the store.
        axes: of the array.
        place: of the scene along axes other than T, Z and channels.
        scene: its description.
    """

    name: str
    path: str
    axes: Axes
    place: Mapping[str, int]
    scene: Scene


class ZarrSource:
    """The folder of a Zarr."""

    def __init__(self, path: Path, reading: Reading):
        self._path, self._reading = path, reading
        attributes = _attributes(path)
        groups = list(_groups(path, attributes))
        if not groups:
            raise _nothing(path)
        self._arrays = [
            array
            for name, group in groups
            for array in _arrays_of(path, name, group, reading.level)
        ]
        self._open: dict[str, Any] = {}

    @cached_property
    def description(self) -> Description:
        """What the store holds."""
        return Description(tuple(array.scene for array in self._arrays))

    def read(self, scene: int, time: int, slice: int) -> Image:
        """One plane; a chunk that is not there holds the fill value, by the standard."""
        found = self._arrays[scene]
        found.axes.check(self._reading.limits, np.dtype(found.scene.dtype).itemsize)
        return image_of(found.scene, self._part(found, time, slice, _ALL, _ALL))

    def windows(self, scene: int, time: int, slice: int, checked: bool) -> PartWindows | None:
        """Windows of a plane, of which only the chunks are read that they touch."""
        found = self._arrays[scene]
        array = self._array(found.path)
        if math.prod(array.chunks) * array.dtype.itemsize > MOST_CHUNK_BYTES:
            return None

        def part(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
            return self._part(found, time, slice, _Span(y0, y1), _Span(x0, x1))

        return PartWindows(found.scene, part)

    def folder(self, scene: int) -> Path:
        """The array of a scene; all if there is none of that number, which who reads it finds out."""
        found = self._arrays[scene : scene + 1]
        return self._path / found[0].path if found else self._path

    def _part(
        self, found: _Array, time: int, slice: int, rows: _Span, columns: _Span
    ) -> np.ndarray:
        """Rows and columns of a plane: (rows, columns, channels)."""
        at: dict[str, int | _Span] = {**found.axes.index(found.place, time, slice)}
        at |= {"Y": rows, "X": columns}
        index = tuple(at.get(axis, _ALL) for axis in found.axes.sizes)
        pixels = np.asarray(self._array(found.path)[index])
        axes = [axis for axis in found.axes.sizes if not isinstance(at.get(axis), int)]
        return height_width_channels(pixels, axes)

    def _array(self, path: str) -> Any:
        if path not in self._open:
            import zarr

            from samfleet.images.sources.blosc_chunks import BloscChunks, is_blosc

            folder = zarr.storage.LocalStore(self._path / path, read_only=True)
            array = zarr.open_array(folder, mode="r")
            if is_blosc(array):
                array = zarr.open_array(BloscChunks(folder), mode="r")
            self._open = {path: array}
        return self._open[path]

    def close(self) -> None:
        """Nothing is open."""


def _nothing(path: Path) -> ImageError:
    if not any(path.iterdir()):
        return unreadable("the folder is empty")
    if (path / ".zarray").is_file() or _metadata(path / "zarr.json").get("node_type") == "array":
        return unsupported("a Zarr array without the metadata of OME, so its axes are not known")
    return unsupported("the Zarr has no images with metadata of OME (multiscales, plate)")


def _metadata(file: Path) -> dict[str, Any]:
    """A file of metadata; empty if there is none. Raises ImageError if it is damaged."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise unreadable(f"{file.name} of the Zarr is damaged ({error})") from error
    if not isinstance(found, dict):
        raise unreadable(f"{file.name} of the Zarr is damaged")
    return found


def _attributes(group: Path) -> dict[str, Any]:
    """The attributes of a group, of either version of Zarr; those of OME 0.5 are within `ome`."""
    found = _metadata(group / "zarr.json").get("attributes") or _metadata(group / ".zattrs")
    inner = found.get("ome")
    return found | inner if isinstance(inner, dict) else found


def _groups(root: Path, attributes: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, path) of every group with an image, in the order of the store."""
    if "plate" in attributes:
        for well in attributes["plate"]["wells"]:
            path = str(well["path"])
            fields = _attributes(root / path).get("well", {}).get("images")
            if not fields:
                yield path, path
            for field in fields or ():
                yield f"{path}/{field['path']}", f"{path}/{field['path']}"
    elif "multiscales" in attributes:
        yield "", ""
    elif "bioformats2raw.layout" in attributes:
        series = _attributes(root / "OME").get("series")
        if not series:
            numbers = (str(number) for number in range(_MOST_SERIES))
            series = _while_there(root, numbers)
        yield from ((str(path), str(path)) for path in series)
    else:
        for child in sorted(root.iterdir()):
            if child.is_dir() and "multiscales" in _attributes(child):
                yield child.name, child.name


def _while_there(root: Path, names: Iterator[str]) -> list[str]:
    found = []
    for name in names:
        if not (root / name).is_dir():
            break
        found.append(name)
    return found


def _arrays_of(root: Path, name: str, group: str, level: int) -> list[_Array]:
    """The scenes of a group; one with a problem if it cannot be read."""
    try:
        attributes = _attributes(root / group)
        scales = attributes.get("multiscales")
        if not scales:
            raise unreadable("its image is gone or has no metadata")
        found = []
        for number, scale in enumerate(scales):
            own = name if len(scales) == 1 else f"{name} {number}".strip()
            found += _scenes_of(root, own, group, scale, attributes, level)
        return found
    except ImageError as error:
        scene = Scene(name, problem=f"{error.status}: {error.reason}")
        return [_Array(name, group, Axes({}), {}, scene)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"unreadable: its metadata are damaged ({type(error).__name__}: {error})"
        return [_Array(name, group, Axes({}), {}, Scene(name, problem=reason[:300]))]


def _scenes_of(
    root: Path,
    name: str,
    group: str,
    scale: Mapping[str, Any],
    attributes: Mapping[str, Any],
    level: int,
) -> list[_Array]:
    datasets = scale["datasets"]
    check_level(level, len(datasets))
    path = "/".join(filter(None, [group, str(datasets[level]["path"])]))
    shape, dtype = _array_metadata(root / path)
    named = scale.get("axes") or list(_OLD_AXES[-len(shape) :])
    names = [str(axis["name"] if isinstance(axis, Mapping) else axis).upper() for axis in named]
    if len(names) != len(shape):
        raise unreadable(f"its metadata name {len(names)} axes, and its array has {len(shape)}")
    axes = Axes(dict(zip(names, shape, strict=True)))
    labels = _labels(attributes, axes.channels)
    side = _side(named, names, scale, datasets[level])
    problem = axes.problem or real(dtype)
    scenes = []
    for place in axes.places():
        scene = Scene(
            name=" ".join(filter(None, [name or str(scale.get("name") or ""), place_name(place)])),
            times=axes.times,
            slices=axes.slices,
            channels=labels,
            height=axes.sizes.get("Y", 0),
            width=axes.sizes.get("X", 0),
            dtype=str(dtype.newbyteorder("=")),
            pixel_size_um=side,
            levels=len(datasets),
            problem=problem,
        )
        scenes.append(_Array(scene.name, path, axes, place, scene))
    return scenes


def _array_metadata(array: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array."""
    found = _metadata(array / "zarr.json") or _metadata(array / ".zarray")
    if "shape" not in found:
        raise unreadable(f"its array {array.name} is gone")
    kind = found.get("data_type", found.get("dtype"))
    return tuple(int(size) for size in found["shape"]), np.dtype(kind)


def _labels(attributes: Mapping[str, Any], count: int) -> tuple[str, ...]:
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    names = [
        "" if each.get("label") is None else str(each["label"])
        for each in channels or []
        if isinstance(each, Mapping)
    ]
    return tuple(names) if len(names) == count else ("",) * count


def _side(
    named: list[Any], names: list[str], scale: Mapping[str, Any], dataset: Mapping[str, Any]
) -> PixelSide:
    """The side of a pixel in µm: the scale of the dataset and that of all, in the units of the axes."""
    sides = []
    for axis in "YX":
        if axis not in names or not isinstance(named[position := names.index(axis)], Mapping):
            return None
        factors = [
            transform["scale"][position]
            for holder in (dataset, scale)
            for transform in holder.get("coordinateTransformations") or []
            if transform.get("type") == "scale" and "scale" in transform
        ]
        length = float(np.prod(factors)) if factors else None
        sides.append(micrometres(length, str(named[position].get("unit") or "")))
    return pixel_side(*sides)
