"""Keep the tiles of a large image on the disk until it is finished, so that a job goes on where another ended.

A part is a file of several tiles, complete or absent, and is never changed. It holds arrays only, and reading it
runs nothing. As this imports torch, it is imported only by a job that has a device.
"""

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from samfleet.detection.writing import writing_results
from samfleet.files import atomic_path, remove_leftovers
from samfleet.results import unfinished_folder
from samfleet.sam.generator.candidates import Candidates, Chosen
from samfleet.sam.generator.tiled import FoundInTile, TileKey
from samfleet.sam.masks.bitmask import BitMask

logger = logging.getLogger(__name__)

_LEFTOVER_SECONDS = 86400
_CANDIDATES = ("boxes", "predicted_iou", "stability", "points")


class KeptTiles(dict[TileKey, FoundInTile]):
    """The tiles of an image that are finished, by their place: those of earlier jobs, and what is added.

    Args:
        store: a store's folder.
        image_id: of the image.
        flush_seconds: tiles reach the disk at least this often.
    """

    def __init__(self, store: Path, image_id: str, flush_seconds: float):
        super().__init__()
        self._folder = unfinished_folder(store) / image_id
        self._name = secrets.token_hex(4)
        self._flush_seconds = flush_seconds
        self._flushed = time.monotonic()
        self._flushes = 0
        self._unwritten: list[TileKey] = []
        for path in sorted(self._folder.glob("*.npz")):
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                tiles = list(_unpacked(dict(arrays)))
        except Exception:  # a damaged file raises anything, with NumPy's advice to load it unsafely
            logger.warning("%s: damaged; its tiles are looked at again", path)
            path.unlink(missing_ok=True)
            return
        self.update(tiles)

    def __setitem__(self, key: TileKey, tile: FoundInTile) -> None:
        super().__setitem__(key, tile)
        self._unwritten.append(key)
        if time.monotonic() - self._flushed >= self._flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last time.

        Raises:
            RecordingError: the disk is full or cannot be written to.
        """
        self._flushed = time.monotonic()
        if not self._unwritten:
            return
        arrays = _packed([(key, self[key]) for key in self._unwritten])
        path = self._folder / f"{self._name}-{self._flushes:05d}.npz"
        with writing_results(self._folder):
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            remove_leftovers(self._folder, _LEFTOVER_SECONDS)
        self._flushes += 1
        self._unwritten.clear()

    @property
    def is_on_disk(self) -> bool:
        """Whether an image that has come so far is kept, if the job ends now."""
        return bool(self._flushes)


def _packed(tiles: Sequence[tuple[TileKey, FoundInTile]]) -> dict[str, np.ndarray]:
    """Tiles as arrays, one below the other."""
    found = [tile.chosen for _, tile in tiles]
    masks = cast("list[BitMask]", [mask for chosen in found for mask in chosen.masks])
    arrays = {
        "tiles": np.array([(size, *box) for (size, box), _ in tiles], np.int64),
        "left_out": np.array([tile.left_out for _, tile in tiles]),
        "masks": np.array([len(chosen.masks) for chosen in found], np.int64),
        "large": np.array([len(tile.large.boxes) for _, tile in tiles], np.int64),
        "crops": np.concatenate([chosen.crops for chosen in found]),
        "reductions": np.concatenate([chosen.reductions for chosen in found]),
        "corners": np.array([mask.corner for mask in masks], np.int64).reshape(-1, 2),
        "shapes": np.array([mask.shape for mask in masks], np.int64).reshape(-1, 2),
        "bits": np.concatenate([np.zeros(0, np.uint8), *(mask.bits.ravel() for mask in masks)]),
    }
    for prefix, parts in (
        ("", [chosen.candidates for chosen in found]),
        ("large_", [tile.large for _, tile in tiles]),
    ):
        together = Candidates.concatenate(parts)
        for name in _CANDIDATES:
            arrays[f"{prefix}{name}"] = getattr(together, name).numpy()
    return arrays


def _unpacked(arrays: dict[str, np.ndarray]) -> Iterator[tuple[TileKey, FoundInTile]]:
    """The tiles of which `_packed` made these arrays."""
    masks = _masks(arrays)
    ends, large_ends = arrays["masks"].cumsum(), arrays["large"].cumsum()
    for number, (size, *box) in enumerate(arrays["tiles"].tolist()):
        part = slice(ends[number] - arrays["masks"][number], ends[number])
        large = slice(large_ends[number] - arrays["large"][number], large_ends[number])
        chosen = Chosen(
            _candidates(arrays, "", part),
            masks[part],
            arrays["crops"][part],
            arrays["reductions"][part],
        )
        tile = FoundInTile(
            chosen, _candidates(arrays, "large_", large), bool(arrays["left_out"][number])
        )
        yield (size, (box[0], box[1], box[2], box[3])), tile


def _candidates(arrays: dict[str, np.ndarray], prefix: str, part: slice) -> Candidates:
    return Candidates(
        *(torch.from_numpy(arrays[f"{prefix}{name}"][part].copy()) for name in _CANDIDATES)
    )


def _masks(arrays: dict[str, np.ndarray]) -> list[BitMask]:
    masks, start = [], 0
    for corner, shape in zip(arrays["corners"].tolist(), arrays["shapes"].tolist(), strict=True):
        width = -(-(corner[1] % 8 + shape[1]) // 8)
        end = start + shape[0] * width
        bits = arrays["bits"][start:end].reshape(shape[0], width)
        masks.append(BitMask((corner[0], corner[1]), (shape[0], shape[1]), bits))
        start = end
    return masks
