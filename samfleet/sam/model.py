"""Segment Anything models by name, and strict loading of their weights."""

import os
import pickle
import zipfile
from functools import partial
from pathlib import Path

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from samfleet.sam.weights import MODEL_NAMES, CheckpointError, weights_path

TINY_INPUT_SIZE = 512
"""The longest side, in pixels, to which an image is scaled for `tiny`."""

TINY_PATCH_SIZE = 8
TINY_WIDTH = 128

_EMBEDDING = "image_encoder.pos_embed"
_WIDTHS = {TINY_WIDTH: "tiny", 768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_SAM_PIXELS = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))  # segment_anything.build_sam
_TINY_PIXELS = ((0.0, 0.0, 0.0), (64.0, 64.0, 64.0))  # black stays 0, like the padding

# Keys under which training frameworks store a state dict; torch_em and micro-sam use the first.
_WRAPPERS = ("model_state", "model_state_dict", "state_dict", "model")


def build_tiny() -> Sam:
    """Build `tiny` with random weights: SAM's own classes, small enough for the CPU of a laptop.

    A 512-pixel image becomes 64 × 64 patches of 8 × 8 pixels; every third block attends
    globally. The decoder is SAM's, with one layer of 64 channels instead of two of 256, because it
    runs for every prompt; its low-resolution masks are 256 × 256.
    """
    grid = TINY_INPUT_SIZE // TINY_PATCH_SIZE
    channels = 64
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=TINY_INPUT_SIZE,
            patch_size=TINY_PATCH_SIZE,
            embed_dim=TINY_WIDTH,
            depth=6,
            num_heads=4,
            mlp_ratio=3,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=(2, 5),
            window_size=16,
            out_chans=channels,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(TINY_INPUT_SIZE, TINY_INPUT_SIZE),
            mask_in_chans=8,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=1, embedding_dim=channels, mlp_dim=256, num_heads=2
            ),
            transformer_dim=channels,
            iou_head_depth=3,
            iou_head_hidden_dim=64,
        ),
        pixel_mean=list(_TINY_PIXELS[0]),
        pixel_std=list(_TINY_PIXELS[1]),
    )


def build_model(name: str) -> Sam:
    """Build a `Sam` with random weights on the CPU.

    Raises:
        ValueError: if the name is not in `samfleet.sam.weights.MODEL_NAMES`.
    """
    if name not in MODEL_NAMES:
        raise ValueError(f"unknown model {name!r}; known are {', '.join(MODEL_NAMES)}")
    return build_tiny() if name == "tiny" else sam_model_registry[name](checkpoint=None)


def load_model(
    name: str, checkpoint: str | os.PathLike = "", device: str | torch.device = "cpu"
) -> Sam:
    """Build a model and load its weights.

    Fine-tuned files of the same layout load too, whether they hold the state dict itself or wrap
    it as training frameworks do: micro-sam writes ``{"model_state": …}`` with the prefix ``sam.``.
    Half-precision weights become float32.

    Args:
        name: One of `samfleet.sam.weights.MODEL_NAMES`.
        checkpoint: Path of the weights, or empty for the standard weights of the model.
        device: Where the model will run.

    Returns:
        The model in eval mode, float32, on `device`.

    Raises:
        ValueError: if the name is unknown.
        CheckpointError: if the file is missing, damaged or holds another model.
    """
    path = weights_path(name, checkpoint)
    state = read_state_dict(path)
    _check_variant(name, state, path)
    # The meta device avoids initialising weights that are overwritten at once (2.5 GB for vit_h).
    with torch.device("meta"):
        sam = build_model(name)
    _check_layout(name, state, sam.state_dict(), path)
    sam.load_state_dict(state, assign=True)
    # A state dict does not contain these two.
    mean, std = _TINY_PIXELS if name == "tiny" else _SAM_PIXELS
    sam.pixel_mean = torch.tensor(mean).view(-1, 1, 1)
    sam.pixel_std = torch.tensor(std).view(-1, 1, 1)
    return sam.eval().to(device)


def read_state_dict(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Read the state dict of a SAM from a file, unwrapped, without prefixes and in float32.

    Only tensors and plain containers are unpickled (``weights_only=True``).

    Raises:
        CheckpointError: if the file cannot be read or does not hold a SAM image encoder.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist: check sam.checkpoint, or leave it empty for the standard weights"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_not_plain(path)) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} is damaged or truncated ({reason}): delete it and fetch it again"
        ) from error
    state = _without_prefix(_unwrapped(content), path)
    return {key: _as_float32(key, tensor, path) for key, tensor in state.items()}


def _not_plain(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    # A ZIP file (PK) or a bare pickle (0x80) is at least the right kind of file.
    if start == b"PK" or start[:1] == b"\x80":
        return (
            f"{path} contains more than plain tensors, or is damaged. If it is a training checkpoint "
            f"from a source that you trust, save only its state dict with torch.save (micro-sam: "
            f"micro_sam.util.export_custom_sam_model); otherwise fetch it again"
        )
    return f"{path} is not a PyTorch weights file, or is damaged: delete it and fetch it again"


def _unwrapped(content: object) -> object:
    while isinstance(content, dict) and not any(str(key).endswith(_EMBEDDING) for key in content):
        inner = next((content[k] for k in _WRAPPERS if isinstance(content.get(k), dict)), None)
        if inner is None:
            break
        content = inner
    return content


def _without_prefix(content: object, path: Path) -> dict[str, torch.Tensor]:
    """The entries of the SAM, without a prefix such as that of ``module.sam.image_encoder…``."""
    keys = [key for key in content if isinstance(key, str)] if isinstance(content, dict) else []
    found = next((key for key in keys if key.endswith(_EMBEDDING)), None)
    if found is None:
        known = f"; its first entries are {', '.join(keys[:3])}" if keys else ""
        raise CheckpointError(
            f"{path} is not a Segment Anything model ({_EMBEDDING} is missing{known}). MobileSAM, "
            f"SAM 2 and others have a different layout: use a file for vit_b, vit_l or vit_h"
        )
    prefix = found.removesuffix(_EMBEDDING)
    return {key.removeprefix(prefix): content[key] for key in keys if key.startswith(prefix)}


def _as_float32(key: str, tensor: object, path: Path) -> torch.Tensor:
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        raise CheckpointError(f"{path}: {key} is not a tensor of floating-point numbers")
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{path} is damaged: {key} contains values that are not finite")
    return tensor.float()


def _check_variant(name: str, state: dict[str, torch.Tensor], path: Path) -> None:
    width = state[_EMBEDDING].shape[-1]
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


def _check_layout(
    name: str, state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], path: Path
) -> None:
    missing = sorted(expected.keys() - state.keys())
    unknown = sorted(state.keys() - expected.keys())
    other = sorted(
        key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape
    )
    faults = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
        for keys, what in (
            (missing, "missing"),
            (unknown, "unknown"),
            (other, "of a different shape"),
        )
        if keys
    ]
    if faults:
        raise CheckpointError(
            f"{path} does not have the layout of {name}. Its entries: {'; '.join(faults)}. "
            f"Use a file that has exactly this layout"
        )
