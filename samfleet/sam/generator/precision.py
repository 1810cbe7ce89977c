"""The arithmetic of each precision.

Everything not mentioned here follows torch's defaults: matrix products in float32 and, on a GPU, cuDNN's
convolutions in TF32. `exact` therefore shares these with the library. TF32 keeps 10 bits of a number's
fraction, bf16 keeps 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """One value of `sam.precision`.

    Attributes:
        encoder, decoder: the format of matrix products: "float32" or "tf32".
        blocks: the format of the weights of the encoder's blocks, and so of their products.
        prompts: how many prompts are decoded at once on a CPU and on a GPU. Fixed, since another
            number can change the last bits.
        needs_gpu: whether it works on GPUs only.
    """

    encoder: str
    decoder: str
    blocks: torch.dtype = torch.float32
    prompts: tuple[int, int] = (64, 256)
    needs_gpu: bool = True

    def points_per_batch(self, device: torch.device) -> int:
        """How many prompts are decoded at once on a device."""
        return self.prompts[device.type == "cuda"]


PRECISIONS = {
    # The library's generator decodes 64 prompts at once, and the choice of kernels depends on that.
    "exact": Precision("float32", "float32", prompts=(64, 64), needs_gpu=False),
    "fast": Precision("float32", "float32", needs_gpu=False),
    "tf32": Precision("tf32", "tf32"),
    # A decoder in bf16 changes most outlines; benchmarks/README.md has the figures.
    "bf16": Precision("tf32", "tf32", blocks=torch.bfloat16),
}


@contextmanager
def arithmetic(kind: str) -> Iterator[None]:
    """A block in which products of float32 matrices are computed in "float32" or "tf32"."""
    if kind == "tf32":
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        allowed = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = True
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = allowed
    else:
        yield
