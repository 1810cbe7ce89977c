"""What the store's rows are made of: a column's name is a field, so that a wrong one is an error.

The fields are those of `samfleet.store.segments`, in the same order, which says what they hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from samfleet.statuses import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """Columns of an image; those of its pixels are None where it failed.

    `plan` is filled in where rows are recorded, and `n_candidates` by `image_rows`.
    """

    image_id: str
    plan: str | None = None
    status: str = Status.OK
    reason: str = ""
    transient: bool = False
    width: int | None = None
    height: int | None = None
    dtype: str | None = None
    is_color: bool | None = None
    plane: str | None = None
    n_candidates: int = 0
    background: list[float] | None = None
    image_maximum: list[float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow:
    """Columns of a candidate."""

    candidate: int
    bbox_x: int
    bbox_y: int
    bbox_width: int
    bbox_height: int
    area: int
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
    perimeter: float
    circularity: float
    solidity: float
    overlapping: list[int]
    shared_pixels: list[int]
    intensity_sum: list[float]
    intensity_mean: list[float]
    intensity_maximum: list[float]
    intensity_std: list[float]


_CANDIDATE = tuple(field.name for field in fields(CandidateRow))


def image_rows(image: ImageRow, candidates: Sequence[CandidateRow]) -> list[dict]:
    """The store's rows of an image: one for each candidate, or one whose candidate is null."""
    common = _columns(image) | {"n_candidates": len(candidates)}
    rows = [common | _columns(candidate) for candidate in candidates]
    return rows or [common | dict.fromkeys(_CANDIDATE)]


def _columns(row: ImageRow | CandidateRow) -> dict[str, object]:
    return {field.name: getattr(row, field.name) for field in fields(row)}
