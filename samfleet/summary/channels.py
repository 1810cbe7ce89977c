"""What every channel of an image has measured, as columns of objects.parquet that are named after it."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from samfleet.channels import Channels

_MEASURED = {
    "intensity_mean": "intensity_mean",
    "intensity_max": "intensity_max",
    "intensity_std": "intensity_std",
    "integrated_intensity": "intensity_sum",
    "background": "background",
}
"""Names of columns, and of the lists in the store that they are taken from."""


def known_channels(images: pa.Table) -> dict[str, int]:
    """The channels of some images, each with the least number that it has, given a row for each image."""
    found: dict[str, int] = {}
    for _, channels in kinds_of_channels(images, images["image_maximum"]):
        for number, name in enumerate(channels.names):
            found[name] = min(number, found.get(name, number))
    return found


def channel_columns(channels: Iterable[str]) -> list[str]:
    """The columns of these channels; all are float64."""
    names = [*_MEASURED, "ctcf"]
    return [
        f"{prefix}{name}_{channel}"
        for channel in channels
        for prefix in ("", "raw_")
        for name in names
    ]


def measured_channels(
    group: pa.Table, factor: np.ndarray, channels: Sequence[str]
) -> dict[str, pa.Array]:
    """The columns of these channels for candidates of the store, null where an image has no such channel.

    Args:
        group: candidates of complete images.
        factor: for each, from raw units to the scale of 0 to 255.
        channels: those of the whole collection.
    """
    columns = {name: np.full(group.num_rows, np.nan) for name in channel_columns(channels)}
    if not columns:
        return {}
    lists = {
        source: group[source].combine_chunks() for source in (*_MEASURED.values(), "valid_pixels")
    }
    starts = {source: each.offsets.to_numpy()[:-1] for source, each in lists.items()}
    values = {source: each.values.to_numpy(zero_copy_only=False) for source, each in lists.items()}
    for rows, kind in kinds_of_channels(group, group["background"]):
        for number, channel in enumerate(kind.names):
            raw = {
                name: values[source][starts[source][rows] + 2 + number].astype(np.float64)
                for name, source in (*_MEASURED.items(), ("valid_pixels", "valid_pixels"))
            }
            raw["ctcf"] = raw["integrated_intensity"] - raw.pop("valid_pixels") * raw["background"]
            for name, found in raw.items():
                columns[f"raw_{name}_{channel}"][rows] = found
                columns[f"{name}_{channel}"][rows] = found * factor[rows]
    return {name: pa.array(values, from_pandas=True) for name, values in columns.items()}


def kinds_of_channels(
    table: pa.Table, planes: pa.ChunkedArray
) -> list[tuple[np.ndarray, Channels]]:
    """For each kind of image the rows that have it, int64, and its channels.

    Args:
        table: with the columns `channels` and `is_color`.
        planes: lists with a number for each measured plane, of which two are no channels.
    """
    counts = np.diff(planes.combine_chunks().offsets.to_numpy()) - 2
    names = [tuple(each or ()) for each in table["channels"].to_pylist()]
    kinds: dict[tuple, list[int]] = {}
    for row, kind in enumerate(
        zip(names, counts.tolist(), table["is_color"].to_pylist(), strict=True)
    ):
        if kind[1] > 0:
            kinds.setdefault(kind, []).append(row)
    return [(np.array(rows), Channels(*kind)) for kind, rows in kinds.items()]
