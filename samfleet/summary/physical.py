"""Sizes in micrometres, beside those in pixels."""

import numpy as np
import pyarrow as pa

_LENGTHS = {
    "perimeter_um": "perimeter_crofton",
    "major_axis_length_um": "major_axis_length",
    "minor_axis_length_um": "minor_axis_length",
    "feret_diameter_max_um": "feret_diameter_max",
}


def physical_columns(objects: pa.Table, pixel_size_um: float | None) -> dict[str, object]:
    """The side of a pixel and what follows from it for rows of the store; null where it is not known.

    Args:
        objects: candidates of the store.
        pixel_size_um: what the configuration sets in place of what files say.
    """
    if pixel_size_um is None:
        side = objects["pixel_size_um"].to_numpy(zero_copy_only=False).astype(np.float64)
    else:
        side = np.full(objects.num_rows, pixel_size_um)
    columns = {"pixel_size_um": side, "area_um2": objects["area"].to_numpy() * side**2}
    columns |= {name: objects[source].to_numpy() * side for name, source in _LENGTHS.items()}
    unknown = np.isnan(side)
    return {name: pa.array(values, pa.float64(), mask=unknown) for name, values in columns.items()}
