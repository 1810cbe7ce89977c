"""Whether rows of the store are possible, although their file is whole: nothing else checks numbers.

All functions work on whole columns, since a store may have millions of candidates.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samfleet.statuses import Status

DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64)}
)
"""The types of pixels that the store knows."""

# of a character of a compressed run length; rleToString in COCO's maskApi.c
_BITS, _SIGN, _MORE = 0x1F, 0x10, 0x20
_MOST_DIGITS = 7  # of 5 bits each


def image_fault(images: pa.Table) -> str:
    """What is impossible in the columns of images, of any table that has them; empty if nothing is."""
    measured = images.filter(pc.is_valid(images["dtype"]))
    if not set(pc.unique(measured["dtype"]).to_pylist()) <= DTYPES:
        return "an image in it has pixels of an unknown type"
    if (_lengths(measured["image_maximum"]) < 3).any():
        return "intensities of an image are missing in it"
    return ""


def fault_of(images: pa.Table) -> str:
    """What is impossible in a table of complete images, detected or failed; empty if nothing is.

    Masks are not looked at, see `are_masks`.
    """
    starts = _starts(images)
    if len(pc.unique(images["image_id"].take(pa.array(starts)))) < len(starts):
        return "an image stands in it twice"
    sizes = np.diff(starts, append=images.num_rows)
    valid = pc.is_valid(images["candidate"]).to_numpy()
    order = np.arange(images.num_rows) - np.repeat(starts, sizes)
    numbers = images["candidate"].fill_null(0).to_numpy()
    expected = images["n_candidates"].fill_null(-1).to_numpy()
    if not np.array_equal(numbers, order) or (np.repeat(sizes, sizes) * valid != expected).any():
        return "candidates stand in it twice, or are missing"
    detected = images.filter(pc.equal(images["status"], Status.OK))
    planes = _lengths(detected["background"])
    if (
        image_fault(images)
        or detected["dtype"].null_count
        or any((planes != _lengths(detected[name])).any() for name in _OF_IMAGES)
    ):
        return image_fault(images) or "intensities of an image are missing in it"
    return _candidate_fault(images.filter(pa.array(valid)))


def _candidate_fault(rows: pa.Table) -> str:
    if not rows.num_rows:
        return ""
    if any(
        rows[name].null_count
        for name in (*_WHOLE, *_LISTS, "rle", "predicted_iou", "stability_score")
    ):
        return "measurements of a candidate are missing in it"
    value = {name: rows[name].to_numpy() for name in _WHOLE}
    if min(value[name].min() for name in _WHOLE) < 0:  # a mask may be empty
        return "a size or an area in it is impossible"
    if (
        (value["bbox_x"] + value["bbox_width"] > value["width"]).any()
        or (value["bbox_y"] + value["bbox_height"] > value["height"]).any()
        or (value["area"] > value["width"].astype(np.int64) * value["height"]).any()
    ):
        return "a mask in it is larger than its image"
    planes, partners = _lengths(rows["background"]), _lengths(rows["overlapping"])
    if any((_lengths(rows[name]) != planes).any() for name in _BY_PLANE):
        return "intensities of a candidate are missing in it"
    others = pc.list_flatten(rows["overlapping"]).fill_null(-1).to_numpy()
    if (
        (partners != _lengths(rows["shared_pixels"])).any()
        or (others < 0).any()
        or (others >= np.repeat(value["n_candidates"], partners)).any()
    ):
        return "overlaps in it are impossible"
    return _intensity_fault(rows, np.repeat(value["area"], planes))


def _intensity_fault(rows: pa.Table, area: np.ndarray) -> str:
    """Whether sums, means and maxima of a candidate contradict each other; NaN contradicts nothing."""
    pixels, total, mean, maximum = (
        pc.list_flatten(rows[name]).to_numpy().astype(np.float64) for name in _BY_PLANE[:4]
    )
    tolerance = 1e-6 * np.maximum(1, np.abs(total))
    if (
        (pixels < 0).any()
        or (pixels > area).any()
        or (np.abs(total - mean * pixels) > tolerance).any()
        or (mean - maximum > 1e-6 * np.maximum(1, np.abs(maximum))).any()
    ):
        return "intensities of a candidate in it contradict each other"
    return ""


_WHOLE = (
    "width",
    "height",
    "n_candidates",
    "bbox_x",
    "bbox_y",
    "bbox_width",
    "bbox_height",
    "area",
)
_BY_PLANE = (
    "valid_pixels",
    "intensity_sum",
    "intensity_mean",
    "intensity_max",
    "intensity_std",
)
_OF_IMAGES = ("image_maximum", "focus", "image_std", "n_saturated", "n_zero")
_LISTS = (*_BY_PLANE, "overlapping", "shared_pixels")


def _starts(images: pa.Table) -> np.ndarray:
    """The first row of every image, int64."""
    codes = images["image_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    return np.flatnonzero(np.diff(codes, prepend=-1))


def _lengths(column: pa.ChunkedArray) -> np.ndarray:
    """The lengths of a column of lists, 0 for null."""
    return pc.list_value_length(column).fill_null(0).to_numpy()


def are_masks(counts: pa.ChunkedArray, pixels: np.ndarray, areas: np.ndarray) -> bool:
    """Whether every text is the COCO run-length encoding of a mask, compressed.

    Args:
        counts: the texts, without null.
        pixels: for each the number of pixels of its image.
        areas: for each the number of pixels of its mask.
    """
    if not len(counts):
        return True
    texts = counts.combine_chunks().cast(pa.large_binary())
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
    code = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]] - np.uint8(
        48
    )
    first, size = offsets[:-1] - offsets[0], np.diff(offsets)
    if not size.all() or code.max() > 63 or (code[first + size - 1] & _MORE).any():
        return False
    stop = np.flatnonzero(code & _MORE == 0)
    start = np.concatenate(([0], stop[:-1] + 1))
    digits = stop - start + 1
    if digits.max() > _MOST_DIGITS:
        return False
    number = (code[start] & _BITS).astype(np.int64)
    for digit in range(1, int(digits.max())):
        longer = np.flatnonzero(digits > digit)
        number[longer] |= (code[start[longer] + digit] & _BITS).astype(np.int64) << 5 * digit
    negative = np.flatnonzero(code[stop] & _SIGN)
    number[negative] -= np.int64(1) << 5 * digits[negative]
    # from the fourth run of a text on, a number is the difference to the run two before
    begin = np.searchsorted(start, first)
    numbers = np.diff(begin, append=len(number))
    odd = (np.arange(len(number)) - np.repeat(begin, numbers)) % 2 == 1
    total = number.copy()
    total[0::2], total[1::2] = np.cumsum(number[0::2]), np.cumsum(number[1::2])
    before = np.where(begin > 0, total[begin - 1], 0)
    runs = total - np.where(odd, np.repeat(before, numbers), np.repeat(total[begin], numbers))
    runs[begin] = number[begin]
    return bool(
        runs.min() >= 0
        and np.array_equal(np.add.reduceat(runs, begin), pixels)
        and np.array_equal(np.add.reduceat(np.where(odd, runs, 0), begin), areas)
    )
