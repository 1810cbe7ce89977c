"""Which images the report shows, and which it counts candidates of: bounded, and the same every time."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from samfleet.digests import digest_of
from samfleet.planes import ending_of
from samfleet.statuses import Status

MOST_PICTURES = 200
"""Tiles of the gallery, with those of failed images."""

MOST_CANDIDATES = 50_000
"""Candidates of whose images the explorer's counts are exact; of more, it has a sample of images."""

_MOST_OUTLINES = 30_000
"""Candidates whose outlines the gallery holds."""

_FAILED, _WARNED, _EMPTY, _EXTREME = 24, 16, 12, 4
"""How many of each kind are shown; extremes for each end of each column."""

_EXTREMES = (
    ("n_objects", "most objects", "fewest objects"),
    ("intensity_mean", "brightest objects", "dimmest objects"),
    ("area_fraction", "most covered", "least covered"),
    ("background", "brightest background", ""),
)
"""Columns of the summary whose extremes are shown, with the words for the highest and the lowest."""

Row = Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """Images whose candidates the explorer counts.

    Attributes:
        files: for each image id, the number of files with that content.
        candidates: how many candidates they have, counted for each file.
        total: how many all images have.
    """

    files: dict[str, int]
    candidates: int
    total: int

    @property
    def exact(self) -> bool:
        """Whether it has all images."""
        return self.candidates == self.total


def name_of(row: Row) -> str:
    """The path of an image's file and, if that holds several, which of them it is."""
    return row["image"] + ending_of((row["scene"], row["time"], row["slice"]))


def was_detected(row: Row) -> bool:
    """Whether an image has a result."""
    return row["status"] in (Status.OK, Status.EMPTY)


def choose_pictures(rows: Sequence[Row], most: int = MOST_PICTURES) -> dict[int, list[str]]:
    """The images of the gallery: failures, warnings, extremes, and ordinary ones at random.

    Args:
        rows: of the summary.
        most: how many at most.

    Returns:
        For the index of each image's row why it is shown, in words; in the order of the rows.
    """
    distinct: dict[str, int] = {}
    for index, row in enumerate(rows):
        distinct.setdefault(row["image_id"] or row["image"], index)
    shown: dict[int, list[str]] = {}
    room = _MOST_OUTLINES
    for index, word in _wished(rows, sorted(distinct.values())):
        if index in shown:
            if word not in ("ordinary", *shown[index]):
                shown[index].append(word)
            continue
        candidates = int(rows[index].get("n_candidates") or 0)
        if len(shown) < most and candidates <= room:
            shown[index] = [word]
            room -= candidates
    return {index: shown[index] for index in sorted(shown)}


def _wished(rows: Sequence[Row], distinct: list[int]) -> Iterator[tuple[int, str]]:
    """Indices with a word why, from the most to the least wanted."""
    seeded = sorted(distinct, key=lambda index: digest_of(rows[index]["image"]))
    detected = [index for index in seeded if was_detected(rows[index])]
    failed = [index for index in seeded if not was_detected(rows[index])]
    yield from _words(_varied(rows, failed)[:_FAILED], "failed")
    yield from _words([i for i in detected if rows[i]["warning"]][:_WARNED], "warning")
    for column, highest, lowest in _EXTREMES:
        valued = [i for i in detected if rows[i].get(column) and rows[i]["status"] == Status.OK]
        valued.sort(key=lambda index: float(rows[index][column]))
        if len({rows[index][column] for index in valued}) > 1:
            yield from _words(reversed(valued[-_EXTREME:]), highest)
            yield from _words(valued[:_EXTREME] if lowest else (), lowest)
    yield from _words([i for i in detected if rows[i]["status"] == Status.EMPTY][:_EMPTY], "empty")
    yield from _words(detected, "ordinary")


def _words(indices: Iterable[int], word: str) -> Iterator[tuple[int, str]]:
    return ((index, word) for index in indices)


def _varied(rows: Sequence[Row], failed: list[int]) -> list[int]:
    """Failures with one of every status first."""
    seen: dict[str, int] = {}
    order = {}
    for index in failed:
        status = rows[index]["status"]
        order[index] = seen[status] = seen.get(status, -1) + 1
    return sorted(failed, key=lambda index: order[index])


def choose_sample(rows: Iterable[Row], most: int = MOST_CANDIDATES) -> Sample:
    """Images whose candidates are all counted: every image, or a random sample of complete ones.

    Candidates of an image compete with each other, so an image is in the sample with all of them or not at all.

    Args:
        rows: of the summary.
        most: how many candidates at most, of different contents; one image is taken in any case.
    """
    files: dict[str, int] = {}
    candidates: dict[str, int] = {}
    for row in rows:
        if was_detected(row) and row["n_candidates"]:
            files[row["image_id"]] = files.get(row["image_id"], 0) + 1
            candidates[row["image_id"]] = int(row["n_candidates"])
    total = sum(files[identity] * number for identity, number in candidates.items())
    room = most if sum(candidates.values()) > most else math.inf
    taken: dict[str, int] = {}
    for identity in sorted(files, key=digest_of):
        if candidates[identity] <= room or not taken:
            taken[identity] = files[identity]
            room -= candidates[identity]
    return Sample(taken, sum(taken[i] * candidates[i] for i in taken), total)
