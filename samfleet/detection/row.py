"""The rows of the store as classes, so that a wrong column name is an error.

The fields are those of `samfleet.store.segments`, in the same order; that module explains them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from samfleet.statuses import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """Columns of an image; those about its pixels are None if it failed.

    The recorder fills in `plan` and the columns from `when` on, and `image_rows` fills in `n_candidates`.
    """

    image_id: str
    scene: int | None = None
    time: int | None = None
    slice: str = ""
    plan: str | None = None
    status: str = Status.OK
    reason: str = ""
    transient: bool = False
    width: int | None = None
    height: int | None = None
    dtype: str | None = None
    is_color: bool | None = None
    plane: str | None = None
    warning: str | None = None
    channels: list[str] | None = None
    pixel_size_um: float | None = None
    acquired: str | None = None
    n_invalid_pixels: int | None = None
    n_candidates: int = 0
    background: list[float | None] | None = None
    image_maximum: list[float | None] | None = None
    pixels_above: list[int] | None = None
    focus: list[float | None] | None = None
    image_std: list[float | None] | None = None
    n_saturated: list[int] | None = None
    n_zero: list[int] | None = None
    when: str | None = None
    shard: str | None = None
    host: str | None = None
    device: str | None = None
    points_per_batch: int | None = None
    tile_size: int | None = None
    tiles: int | None = None
    tiles_left_out: int | None = None
    objects_cut: int | None = None
    seconds_reading: float | None = None
    seconds_encoding: float | None = None
    seconds_decoding: float | None = None
    seconds_postprocessing: float | None = None
    seconds_measuring: float | None = None
    seconds_waiting: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow:
    """Columns of a candidate."""

    candidate: int
    bbox_x: int
    bbox_y: int
    bbox_width: int
    bbox_height: int
    area: int
    n_parts: int
    rle: str
    predicted_iou: float
    stability_score: float
    point_x: float
    point_y: float
    crop_x: int
    crop_y: int
    crop_width: int
    crop_height: int
    centroid_x: float
    centroid_y: float
    perimeter_crofton: float
    circularity: float
    solidity: float
    major_axis_length: float
    minor_axis_length: float
    eccentricity: float
    orientation: float
    feret_diameter_max: float
    extent: float
    overlapping: list[int]
    shared_pixels: list[int]
    valid_pixels: list[int]
    intensity_sum: list[float | None]
    intensity_mean: list[float | None]
    intensity_max: list[float | None]
    intensity_std: list[float | None]


_CANDIDATE = tuple(field.name for field in fields(CandidateRow))


def image_rows(image: ImageRow, candidates: Sequence[CandidateRow]) -> Iterator[dict]:
    """The store's rows for an image: one for each candidate, or a single one without a candidate."""
    common = _columns(image) | {"n_candidates": len(candidates)}
    if not candidates:
        yield common | dict.fromkeys(_CANDIDATE)
    for candidate in candidates:
        yield common | _columns(candidate)


def _columns(row: ImageRow | CandidateRow) -> dict[str, object]:
    return {field.name: getattr(row, field.name) for field in fields(row)}
