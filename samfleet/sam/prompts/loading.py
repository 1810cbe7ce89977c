"""Strict loading of the decoder that draws maps, from a file of its own or from beside the model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from samfleet.sam.model import as_float32, check_layout, read_content
from samfleet.sam.prompts.tiny import TinyMapDecoder
from samfleet.sam.prompts.unetr import UnetrDecoder
from samfleet.sam.weights import CheckpointError

_STATE = "decoder_state"
"""The entry of micro-sam's files that holds the decoder."""

_UPSAMPLING = "decoder.samplers."
_COUNTERS = "num_batches_tracked"


def load_map_decoder(
    model: str, weights: Path, decoder: Path | None = None, statistics: str = "image"
) -> nn.Module:
    """Load the map decoder that belongs to a model's weights.

    Args:
        model: the value of `sam.model`.
        weights: the model's file, which may hold the decoder as well.
        decoder: a file with the decoder, if it is another one.
        statistics: see `UnetrDecoder`; `tiny`'s always uses those of its training.

    Returns:
        The decoder in eval mode, float32, on the CPU.

    Raises:
        CheckpointError: there is none, or it is damaged or of another layout.
        OSError: a file cannot be read at the moment.
    """
    path = decoder or weights
    if not path.is_file():
        raise CheckpointError(f"sam.decoder: {path} is not a file; check the path")
    content = read_content(path)
    inside = content.get(_STATE) if isinstance(content, dict) else None
    if inside is None and not decoder:
        raise CheckpointError(
            f"{path} has no decoder for prompts (no {_STATE} beside the model): set sam.decoder to a file "
            "that has one, or sam.prompts to grid"
        )
    entries = inside if isinstance(inside, dict) else content
    if not isinstance(entries, dict) or not entries:
        raise CheckpointError(f"sam.decoder: {path} holds no decoder")
    state = {
        str(key): tensor
        if str(key).endswith(_COUNTERS) and isinstance(tensor, torch.Tensor)
        else as_float32(str(key), tensor, path)
        for key, tensor in entries.items()
    }
    built: nn.Module
    if model == "tiny":
        built = TinyMapDecoder()
    else:
        transposed = any(key.startswith(_UPSAMPLING) and ".block." in key for key in state)
        built = UnetrDecoder(transposed, statistics)
    check_layout(f"the decoder of {model}", state, built.state_dict(), path)
    built.load_state_dict(state)
    return built.eval()
