"""Expected seconds of an image: guesses at first, then fitted to the ledger. Standard library only."""

import csv
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from samfleet.plan.manifest import ManifestRow
from samfleet.results import ledger_file
from samfleet.statuses import Status

START_SECONDS = {"tiny": 10.0, "vit_b": 14.0, "vit_l": 18.0, "vit_h": 22.0}
"""Seconds to start a job: Python, torch, and the weights on a device. Guesses, which only shape the shards."""

_IMAGE_SECONDS = {"tiny": 0.1, "vit_b": 1.0, "vit_l": 1.3, "vit_h": 1.6}
_SECONDS_PER_BYTE = 1e-7
_MEASURED_AT_MOST = 1000  # headers that are read for it


@dataclass(frozen=True, slots=True)
class CostModel:
    """Expected seconds of an image: a constant for each tile, plus what grows with its size.

    Encoder and decoder do not depend on the size of a tile, or of an image without tiles, since SAM scales
    it.
    """

    constant: float
    per_byte: float

    def seconds(self, size: float, tiles: int = 1) -> float:
        """Expected seconds of an image of so many tiles, which has `size` bytes of its file."""
        return self.constant * tiles + self.per_byte * size


def guess_cost(model: str) -> CostModel:
    """The cost model that is used before anything has been measured."""
    return CostModel(_IMAGE_SECONDS[model], _SECONDS_PER_BYTE)


def fit_cost(measured: Iterable[tuple[float, float, int, int]], guess: CostModel) -> CostModel:
    """The cost model from a ledger.

    Args:
        measured: (seconds that do not depend on size, seconds that do, bytes, tiles) of detections.
        guess: what to use without measurements.
    """
    rows = list(measured)
    if not rows:
        return guess
    constant = sum(row[0] for row in rows) / sum(row[3] for row in rows)
    size = sum(row[2] for row in rows)
    return CostModel(constant, sum(row[1] for row in rows) / size if size else guess.per_byte)


def expected_cost(
    results: Path,
    model: str,
    model_key: str,
    rows: list[ManifestRow],
    tiles_of: Callable[[str], int] = lambda path: 1,
) -> CostModel:
    """The cost of an image, from the ledger's last seconds under this model key if there are any.

    Args:
        results: the folder of the results.
        model: its name.
        model_key: of the results.
        rows: all files.
        tiles_of: how many tiles the image in a file has as the planner counts them. Tiles that are left
            out, or looked at twice, are then part of the seconds of a tile.
    """
    known = {row.image_id: row for row in rows if row.image_id}
    sharing = Counter(row.path for row in rows if row.image_id)
    measured: deque[tuple[float, float, ManifestRow]] = deque(maxlen=_MEASURED_AT_MOST)
    try:
        with ledger_file(results).open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                detected = row["status"] == Status.OK and row["model_key"] == model_key
                if detected and row["seconds_encoding"] and row["image_id"] in known:
                    fixed = float(row["seconds_encoding"]) + float(row["seconds_decoding"])
                    growing = float(row["seconds_postprocessing"])
                    measured.append((fixed, growing, known[row["image_id"]]))
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        pass
    return fit_cost(
        [
            (fixed, growing, row.size // sharing[row.path], tiles_of(row.path))
            for fixed, growing, row in measured
        ],
        guess_cost(model),
    )
