"""Encode the next view before the host is done with the present one.

A GPU gets the next view behind everything that it has to do for the present one, in the same stream: so it works
while the host packs masks, stores them and prepares the next image, and what it computes, and in which order, is what
it would be otherwise. The present view's tensors are free by then but for the masks that are left, so memory need
hold no more than one frame and its embedding besides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from samfleet.faults import is_device_failure, is_out_of_memory

logger = logging.getLogger(__name__)

StageEvents = tuple[str, torch.cuda.Event, torch.cuda.Event]
"""A stage, and its begin and end by the GPU's clock."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A view that was encoded.

    Attributes:
        rgb: (height, width, 3) uint8, its pixels.
        frame: (1, 3, side, side) float32, what the encoder was shown.
        embedding: (1, channels, height, width) float32.
        unpadded: (height, width) of the pixels in the encoder's input.
        seconds, events: what it took on the host and on the device, if that is not counted yet.
    """

    rgb: np.ndarray
    frame: torch.Tensor
    embedding: torch.Tensor
    unpadded: tuple[int, int]
    seconds: float = 0.0
    events: list[StageEvents] = field(default_factory=list)


class EncodingAhead:
    """The view that was encoded before its turn, if there is one.

    Args:
        is_of_use: whether anything is encoded ahead. A CPU has no time left for that.

    Attributes:
        is_of_use: the same; no longer where memory ran out.
    """

    def __init__(self, is_of_use: bool) -> None:
        self._encoded: Encoded | None = None
        self.is_of_use = is_of_use

    def encode(self, rgb: np.ndarray, encode: Callable[[np.ndarray], Encoded]) -> None:
        """Encode a view. One that cannot be encoded now is left to its turn, with its error.

        Where memory ran out, nothing is encoded ahead any more.

        Raises:
            Exception: the device failed.
        """
        self._encoded = None
        try:
            self._encoded = encode(rgb)
        except Exception as error:
            if is_out_of_memory(error):
                self.is_of_use = False
            elif is_device_failure(error):
                raise
        # after the handler, not in it: there the traceback would still hold the tensors
        if not self.is_of_use:
            torch.cuda.empty_cache()
            logger.warning("out of memory: images are no longer encoded ahead")

    def take(self, rgb: np.ndarray) -> Encoded | None:
        """The view with these very pixels, if it is the one that was encoded ahead; which is then forgotten."""
        encoded, self._encoded = self._encoded, None
        if encoded is None or encoded.rgb.__array_interface__ != rgb.__array_interface__:
            return None
        return encoded
