"""Segment Anything models by name, and strict loading of their weights."""

import os
import pickle
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

from samfleet.sam.adapters import merged_adapters
from samfleet.sam.layout import (
    EMBEDDING,
    TINY_WIDTH,
    check_variant,
    damaged,
    model_entries,
    no_weights,
)
from samfleet.sam.peek import is_safetensors
from samfleet.sam.weights import MODEL_NAMES, CheckpointError, weights_path

TINY_INPUT_SIZE = 512
"""The longest side, in pixels, to which an image is scaled for `tiny`."""

TINY_PATCH_SIZE = 8

_SAM_PIXELS = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))  # segment_anything.build_sam
_TINY_PIXELS = ((0.0, 0.0, 0.0), (64.0, 64.0, 64.0))  # black stays 0, like the padding


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
    check_variant(name, tuple(state[EMBEDDING].shape), path)
    # The meta device avoids initialising weights that are overwritten at once (2.5 GB for vit_h).
    with torch.device("meta"):
        sam = build_model(name)
    check_layout(name, state, sam.state_dict(), path)
    sam.load_state_dict(state, assign=True)
    # A state dict does not contain these two.
    mean, std = _TINY_PIXELS if name == "tiny" else _SAM_PIXELS
    sam.pixel_mean = torch.tensor(mean).view(-1, 1, 1)
    sam.pixel_std = torch.tensor(std).view(-1, 1, 1)
    return sam.eval().to(device)


def read_state_dict(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Read the state dict of a SAM from a file, unwrapped, without prefixes and in float32.

    The file is PyTorch's or safetensors', which its content tells. Of a pickle, only tensors and plain
    containers are read (``weights_only=True``).

    Raises:
        CheckpointError: the file is missing, damaged or does not hold a SAM image encoder.
        OSError: the file cannot be read at the moment.
    """
    path = Path(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise CheckpointError(
            f"{path} {what}: check sam.checkpoint, or leave it empty for the standard weights"
        )
    state = {
        key: as_float32(key, tensor, path)
        for key, tensor in model_entries(read_content(path), path).items()
    }
    return merged_adapters(state, path)


def read_content(path: Path) -> object:
    """What a weights file holds, of PyTorch or safetensors; of a pickle, only plain containers and tensors.

    Raises:
        CheckpointError: the file is damaged or holds something else.
        OSError: the file cannot be read at the moment.
    """
    with path.open("rb") as file:
        start = file.read(9)
    try:
        if is_safetensors(start):
            from safetensors.torch import load_file

            return load_file(path)
        with path.open("rb") as file:  # of a path, torch would believe its suffix
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _not_plain(path, start) from error
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # damaged files raise anything
        if isinstance(error, OSError) and error.errno:
            raise  # the disk or network may be at fault, not the file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise damaged(path, reason) from error


def _not_plain(path: Path, start: bytes) -> CheckpointError:
    # A ZIP file (PK) or a bare pickle (0x80) is at least the right kind of file.
    if start[:2] != b"PK" and start[:1] != b"\x80":
        return no_weights(path)
    return CheckpointError(
        f"{path} contains more than plain tensors, or is damaged. If it is a training checkpoint "
        f"from a source that you trust, save only its state dict with torch.save (micro-sam: "
        f"micro_sam.util.export_custom_sam_model); otherwise fetch it again"
    )


def as_float32(key: str, tensor: object, path: Path) -> torch.Tensor:
    """A tensor of a weights file as float32.

    Raises:
        CheckpointError: it is no tensor of finite floating-point numbers.
    """
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        raise CheckpointError(f"{path}: {key} is not a tensor of floating-point numbers")
    converted = tensor.float()
    if not torch.isfinite(converted).all():  # also float64 beyond the range of float32
        raise CheckpointError(f"{path} is damaged: {key} contains values that are not finite")
    return converted


def check_layout(
    name: str, state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], path: Path
) -> None:
    """Compare the entries of a file with those of a module, by names and shapes.

    Raises:
        CheckpointError: they differ; the message says how.
    """
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
