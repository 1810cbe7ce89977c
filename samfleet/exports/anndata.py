"""One AnnData file of all objects (.h5ad), for scanpy and squidpy; written with h5py, since anndata asks for an older pandas.

The format is that of https://anndata.readthedocs.io/en/stable/fileformat-prose.html, version 0.1.0.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np

from samfleet.exports.source import Source, Whole
from samfleet.opened.tables import PLACE

_CENTER = ("centroid_x", "centroid_y")
_TEXT = h5py.string_dtype("utf-8")


def _write(path: Path, sources: Iterable[Source], measurements: Sequence[str]) -> None:
    names: list[str] = []
    values = [np.zeros((0, len(measurements)))]
    about: dict[str, list[str]] = {name: [] for name in PLACE}
    labels: list[int] = []
    for source in sources:
        count = len(source.objects)
        image = source.image
        rows = [[_number(row[name]) for name in measurements] for row in source.objects]
        values.append(np.array(rows, float).reshape(-1, len(measurements)))
        numbers = [row["label"] for row in source.objects]
        labels += numbers
        names += [f"{image.name}:{number}" for number in numbers]
        cells = dict(zip(PLACE, image.place, strict=True)) | image.own
        for name in cells:
            about.setdefault(name, [""] * (len(names) - count))
        for name, column in about.items():
            column += [cells.get(name, "")] * count
    measured = np.concatenate(values)
    with h5py.File(path, "w") as file:
        _describe(file, "anndata", "0.1.0")
        _write_array(file, "X", measured)
        keys = _keys(about)
        obs = _write_frame(file, "obs", names, [*keys.values(), "label"])
        for name, column in about.items():
            _write_text(obs, keys[name], column)
        _write_array(obs, "label", np.array(labels, np.int64))
        _write_frame(file, "var", measurements, [])
        for name in ("obsm", "varm", "obsp", "varp", "layers", "uns"):
            _describe(file.create_group(name), "dict", "0.1.0")
        place = [measurements.index(name) for name in _CENTER]
        _write_array(file["obsm"], "spatial", measured[:, place])


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _describe(item: h5py.Group | h5py.Dataset, kind: str, version: str) -> None:
    item.attrs["encoding-type"], item.attrs["encoding-version"] = kind, version


def _write_array(group: h5py.Group, name: str, values: np.ndarray) -> None:
    packed = {"compression": "gzip"} if values.size else {}
    _describe(group.create_dataset(name, data=values, **packed), "array", "0.2.0")


def _write_text(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    item = group.create_dataset(name, data=np.array(values, object), dtype=_TEXT)
    _describe(item, "string-array", "0.2.0")


def _keys(names: Iterable[str]) -> dict[str, str]:
    """For each column of `obs` a name without a slash, which would make a group, and that no other has."""
    keys: dict[str, str] = {}
    for name in names:
        key = name.replace("/", "_") or "_"
        while key in (*keys.values(), "_index", "label"):
            key += "_"
        keys[name] = key
    return keys


def _write_frame(
    file: h5py.File, name: str, index: Sequence[str], columns: Sequence[str]
) -> h5py.Group:
    """A table with its index; the columns are still to be written."""
    frame = file.create_group(name)
    _describe(frame, "dataframe", "0.2.0")
    frame.attrs["_index"] = "_index"
    frame.attrs["column-order"] = np.array(columns, dtype=_TEXT)
    _write_text(frame, "_index", index)
    return frame


ANNDATA = Whole("anndata", ("label",), "objects.h5ad", _write)
"""One .h5ad file: a row for each object, measurements in X, places in obsm."""
