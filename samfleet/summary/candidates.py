"""The store's candidates as arrays: complete images at a time, on the measured plane."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samfleet.brightness import Brightness
from samfleet.store.segments import SegmentError, read_present
from samfleet.summary.channels import kinds_of_channels, known_channels
from samfleet.summary.filtering import Candidates, OverlappingPairs
from samfleet.summary.scale import Scale, Seen
from samfleet.summary.soundness import fault_of, image_fault


def stored_groups(
    store: Path, best: dict[str, tuple[str, str]], columns: list[str] | None = None
) -> Iterator[tuple[Path, pa.Table]]:
    """Segments with tables of complete images, which have only the best result of each image.

    Args:
        store: a store's folder.
        best: as `samfleet.store.segments.best_results` returns it.
        columns: the columns to read, with those that `samfleet.summary.soundness.image_fault` looks at;
            by default all.

    Raises:
        SegmentError: a segment is damaged, or holds what is impossible.
    """
    segments: dict[str, dict[str, str]] = {}
    for identity, (name, status) in best.items():
        segments.setdefault(name, {})[identity] = status
    for name in sorted(segments):
        wanted = pa.array(segments[name].keys(), pa.string())
        statuses = pa.array(segments[name].values(), pa.string())
        seen: set[str] = set()
        for group in read_present(store / name, columns):
            status = pc.take(statuses, pc.index_in(group["image_id"], wanted))
            chosen = group.filter(pc.equal(group["status"], status))
            if not chosen.num_rows:
                continue
            identities = set(pc.unique(chosen["image_id"]).to_pylist())
            fault = image_fault(chosen) if columns else fault_of(chosen)
            if seen & identities:
                fault = "an image stands in it twice"
            if fault:
                raise SegmentError(store / name, f"damaged: {fault}")
            seen |= identities
            yield store / name, chosen


def seen_by_dtype(
    store: Path, best: dict[str, tuple[str, str]]
) -> tuple[dict[str, Seen], list[str]]:
    """How bright the images are, by dtype, and the channels that they have, by number and name."""
    seen: dict[str, Seen] = {}
    channels: dict[str, int] = {}
    columns = ["image_id", "status", "dtype", "width", "height", "image_maximum", "pixels_above"]
    columns += ["channels", "is_color"]
    for _, group in stored_groups(store, best, columns):
        images = group.take(image_starts(group))
        for dtype in images["dtype"].unique().drop_null().to_pylist():
            found = _seen(images.filter(pc.equal(images["dtype"], dtype)))
            seen[dtype] = seen[dtype] + found if dtype in seen else found
        for name, number in known_channels(images.filter(pc.is_valid(images["dtype"]))).items():
            channels[name] = min(number, channels.get(name, number))
    return seen, sorted(channels, key=lambda name: (channels[name], name))


def _seen(images: pa.Table) -> Seen:
    """How bright images of one dtype are, given a row for each."""
    maxima = _plane_values(images["image_maximum"], np.zeros(images.num_rows, np.int64))
    maximum = float(np.fmax.reduce(maxima))
    lists = images["pixels_above"].combine_chunks()
    start, stop = lists.offsets.to_numpy()[:-1], lists.offsets.to_numpy()[1:]
    numbers = np.concatenate([np.zeros(0, np.int64), *map(np.arange, stop - start)])
    above = np.bincount(numbers, weights=lists.flatten().to_numpy())
    pixels = int((images["width"].to_numpy().astype(np.int64) * images["height"].to_numpy()).sum())
    brightest = images["image_id"].filter(pa.array(maxima == maximum)).to_pylist()
    return Seen(
        Brightness(pixels, maximum, tuple(map(int, above))),
        images.num_rows,
        tuple(np.bincount(numbers).tolist()),
        min(brightest, default=""),
    )


def _plane_values(column: pa.ChunkedArray, planes: np.ndarray) -> np.ndarray:
    """From a column of lists, the number at each row's plane; NaN where it is null."""
    lists = column.combine_chunks()
    return lists.values.to_numpy(zero_copy_only=False)[lists.offsets.to_numpy()[:-1] + planes]


def image_starts(group: pa.Table) -> np.ndarray:
    """The first row of every image, int64, in a table in which the rows of an image are adjacent."""
    codes = group["image_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    return np.flatnonzero(np.diff(codes, prepend=-1))


class MeasuredCandidates:
    """Intensities of candidates on the measured plane.

    Attributes:
        factor: for each candidate, the factor from raw values to the scale of 0 to 255.
        raw: arrays in the units of the pixels, by the name of the column that they become.
        valid_pixels: for each candidate, how many of its pixels are finite.
    """

    def __init__(self, group: pa.Table, scale: Scale):
        planes = _measured_planes(group, scale)
        dtypes = group["dtype"].to_pylist()
        factors = {dtype: scale.factor(dtype) for dtype in set(dtypes)}
        self.factor = np.array([factors[dtype] for dtype in dtypes])
        names = {
            "intensity_mean": "intensity_mean",
            "intensity_max": "intensity_max",
            "intensity_std": "intensity_std",
            "integrated_intensity": "intensity_sum",
            "background": "background",
        }
        self.raw = {name: _plane_values(group[source], planes) for name, source in names.items()}
        self.valid_pixels = _plane_values(group["valid_pixels"], planes)
        # corrected total cell fluorescence; A. Burgess et al., PNAS 107 (2010) 12564
        self.raw["ctcf"] = (
            self.raw["integrated_intensity"] - self.valid_pixels * self.raw["background"]
        )
        self.filtered = Candidates(
            number=group["candidate"].to_numpy(),
            predicted_iou=group["predicted_iou"].to_numpy(),
            stability_score=group["stability_score"].to_numpy(),
            area=group["area"].to_numpy(),
            intensity_mean=self.raw["intensity_mean"] * self.factor,
            contrast=(self.raw["intensity_mean"] - self.raw["background"]) * self.factor,
            circularity=group["circularity"].to_numpy(),
            solidity=group["solidity"].to_numpy(),
            touches_edge=_touches_edge(group),
        )


def _measured_planes(group: pa.Table, scale: Scale) -> np.ndarray:
    """The index of the measured plane of each candidate's image, int64."""
    starts = image_starts(group)
    images = group.select(["channels", "is_color", "background"]).take(starts)
    planes = np.zeros(len(starts), np.int64)
    for rows, channels in kinds_of_channels(images, images["background"]):
        plane = scale.plane(channels)
        if plane is None:
            raise ValueError(f"images without a plane to measure: {scale.lacks(channels)}")
        planes[rows] = plane
    return np.repeat(planes, np.diff(starts, append=group.num_rows))


def _touches_edge(group: pa.Table) -> np.ndarray:
    """Whether each candidate has a pixel in the first or last row or column of its image, bool."""
    left, top = group["bbox_x"].to_numpy(), group["bbox_y"].to_numpy()
    right = left + group["bbox_width"].to_numpy()
    bottom = top + group["bbox_height"].to_numpy()
    touches = (left == 0) | (top == 0)
    return touches | (right == group["width"].to_numpy()) | (bottom == group["height"].to_numpy())


def overlapping_pairs(group: pa.Table, starts: np.ndarray) -> OverlappingPairs:
    """The pairs of rows that share pixels; an image's candidates must be in the order of their numbers.

    Args:
        group: candidates of complete images.
        starts: the first row of every image.
    """
    lists = group["overlapping"].combine_chunks()
    counts = np.diff(lists.offsets.to_numpy())
    first = np.repeat(np.arange(group.num_rows), counts)
    start_of_row = np.repeat(starts, np.diff(starts, append=group.num_rows))
    flattened = lists.flatten().to_numpy()
    shared = group["shared_pixels"].combine_chunks().flatten().to_numpy()
    return OverlappingPairs(first, start_of_row[first] + flattened, shared)
