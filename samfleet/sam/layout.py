"""How files of Segment Anything are laid out: wrappers, prefixes, widths, and what is wrong with others.

Standard library only, since the Snakefile looks at weights without torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samfleet.sam.weights import CheckpointError

EMBEDDING = "image_encoder.pos_embed"
"""The entry that every SAM has; its last dimension tells the variants apart."""

TINY_WIDTH = 128

_WIDTHS = {TINY_WIDTH: "tiny", 768: "vit_b", 1024: "vit_l", 1280: "vit_h"}

# Keys under which training frameworks store a state dict; torch_em and micro-sam use the first.
_WRAPPERS = ("model_state", "model_state_dict", "state_dict", "model")

_DEEPEST = 8
"""Wrappers in wrappers that are looked into; a pickle may contain itself."""


def model_entries(content: object, path: Path) -> dict[str, Any]:
    """The entries of the SAM in what a file holds, by SAM's own names.

    Args:
        content: the state dict, or what training frameworks wrap it in, with or without a prefix such
            as that of ``module.sam.image_encoder…``.
        path: the file, for messages.

    Raises:
        CheckpointError: there is no SAM image encoder in it.
    """
    entries = _unwrapped(content)
    keys = [key for key in entries if isinstance(key, str)]
    found = next((key for key in keys if key.endswith(EMBEDDING)), None)
    if found is None:
        known = f"; its first entries are {', '.join(keys[:3])}" if keys else ""
        raise CheckpointError(
            f"{path} is not a Segment Anything model ({EMBEDDING} is missing{known}). MobileSAM, "
            f"SAM 2 and others have a different layout: use a file for vit_b, vit_l or vit_h"
        )
    prefix = found.removesuffix(EMBEDDING)
    return {key.removeprefix(prefix): entries[key] for key in keys if key.startswith(prefix)}


def _unwrapped(content: object) -> Mapping[Any, Any]:
    for _ in range(_DEEPEST):
        if not isinstance(content, dict) or any(str(key).endswith(EMBEDDING) for key in content):
            break
        inner = next((content[k] for k in _WRAPPERS if isinstance(content.get(k), dict)), None)
        if inner is None:
            break
        content = inner
    return content if isinstance(content, dict) else {}


def check_variant(name: str, shape: tuple[int, ...], path: Path) -> None:
    """Compare the shape of the entry `EMBEDDING` with that of a model.

    Raises:
        CheckpointError: it is another model's; the message says which.
    """
    width = shape[-1] if shape else 0
    looks_like = _WIDTHS.get(width)
    if looks_like is None:
        raise CheckpointError(
            f"{path} is not {name}: its image encoder is {width} wide, unlike that of any known model"
        )
    if looks_like != name:
        raise CheckpointError(
            f"{path} looks like {looks_like} (its image encoder is {width} wide), not {name}: "
            f"set sam.model to {looks_like}, or sam.checkpoint to a file for {name}"
        )


def damaged(path: Path, reason: str) -> CheckpointError:
    """The error of a weights file that is cut off or spoilt."""
    return CheckpointError(
        f"{path} is damaged or truncated ({reason}): delete it and fetch it again"
    )


def no_weights(path: Path) -> CheckpointError:
    """The error of a file that holds something else."""
    return CheckpointError(
        f"{path} is neither a PyTorch weights file nor a safetensors file, or is damaged: "
        "delete it and fetch it again"
    )
