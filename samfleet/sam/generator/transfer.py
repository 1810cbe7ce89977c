"""Copies between the host and the generator's device for which the host does not wait."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def to_device(values: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy of values of the host on a device; without a copy if that is the host."""
    tensor = torch.as_tensor(values)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


class Arriving:
    """Tensors on their way to the host, all in one copy.

    Whoever waits for later work of the device first, finds them there.

    Args:
        tensors: at least one, on one device.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = tensors
        self._on_host = tensors[0].device.type == "cpu"
        if not self._on_host:
            flat = torch.cat([each.reshape(-1).view(torch.uint8) for each in tensors])
            self._bytes = flat.to("cpu", non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def arrive(self) -> list[torch.Tensor]:
        """Waits for the copies."""
        if self._on_host:
            return list(self._tensors)
        self._event.synchronize()
        parts = self._bytes.split([each.nbytes for each in self._tensors])
        # A part may start anywhere, numbers may not.
        return [
            part.clone().view(each.dtype).view(each.shape)
            for part, each in zip(parts, self._tensors, strict=True)
        ]
