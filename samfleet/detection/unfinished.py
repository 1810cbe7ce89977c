"""The image that a job is at, which may be large: what it has found so far is kept if the job ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samfleet.detection.kept_tiles import KeptTiles


class UnfinishedImages:
    """The image that a job is at, which may be large.

    Args:
        store: the store's folder.
        flush_seconds: tiles reach the disk at least this often.
    """

    def __init__(self, store: Path, flush_seconds: float):
        self._store, self._flush_seconds = store, flush_seconds
        self._current: KeptTiles | None = None
        self._tiles = 0

    @property
    def tiles(self) -> tuple[int, int]:
        """How many tiles of the image are finished, and how many its first look has; 0 without tiles."""
        current = self._current
        return (0, 0) if current is None else (len(current), self._tiles)

    def begin(self, image_id: str, tiles: int) -> KeptTiles:
        """The finished tiles of the next image, whose first look has so many."""
        from samfleet.detection.kept_tiles import KeptTiles  # torch, which a job imports late

        self._tiles = tiles
        self._current = KeptTiles(self._store, image_id, self._flush_seconds)
        return self._current

    def end(self) -> None:
        """All tiles of the image are finished; if that took long, it is not to be done again."""
        if self._current is not None and self._current.is_on_disk:
            self._current.flush()
        self._current = None

    def flush(self) -> None:
        """Keep the tiles that are finished, since the job ends.

        Raises:
            RecordingError: the disk is full or cannot be written to.
        """
        if self._current is not None:
            self._current.flush()
