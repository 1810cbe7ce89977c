"""Low-rank adapters in fine-tuned weights, merged into the layers that they adapt.

micro-sam's LoRA adds B·A·x to the queries and values of an attention layer (E. J. Hu et al., "LoRA", ICLR 2022),
with a scale of 1, which equals a layer whose weights have B·A added. Other adapters are refused.
"""

from pathlib import Path

import torch

from samfleet.sam.weights import CheckpointError

_LAYER = ".attn.qkv."
_BASE = ("qkv_proj.weight", "qkv_proj.bias")
_LOW_RANK = tuple(f"w_{half}_linear_{part}.weight" for part in "qv" for half in "ab")


def merged_adapters(state: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """A state dict without adapters, equal but for rounding.

    Args:
        state: of a SAM, float32.
        path: the file, for messages.

    Raises:
        CheckpointError: it has adapters of another kind.
    """
    layers: dict[str, dict[str, torch.Tensor]] = {}
    merged = {}
    for key, tensor in state.items():
        layer, found, name = key.partition(_LAYER)
        if not found or name in ("weight", "bias"):
            merged[key] = tensor
            continue
        if name not in _BASE + _LOW_RANK:
            raise CheckpointError(
                f"{path}: {key} belongs to a fine-tuning method other than micro-sam's LoRA of queries and "
                "values, which cannot be merged: export the model with its adapters merged"
            )
        layers.setdefault(layer + _LAYER, {})[name] = tensor
    for layer, parts in layers.items():
        if missing := sorted({*_BASE, *_LOW_RANK} - parts.keys()):
            raise CheckpointError(f"{path}: {layer}{missing[0]} is missing beside its adapter")
        merged |= _merged_layer(layer, parts, path)
    return merged


def _merged_layer(
    layer: str, parts: dict[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    weight = parts["qkv_proj.weight"].clone()
    width = weight.shape[1]
    for rows, part in ((slice(None, width), "q"), (slice(-width, None), "v")):
        down, up = (parts[f"w_{half}_linear_{part}.weight"] for half in "ab")
        if (down.shape[1], up.shape[0]) != (width, width) or down.shape[0] != up.shape[1]:
            raise CheckpointError(f"{path}: the adapter of {layer} does not fit its layer")
        weight[rows] += up @ down
    return {f"{layer}weight": weight, f"{layer}bias": parts["qkv_proj.bias"]}
