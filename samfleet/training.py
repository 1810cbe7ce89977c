"""Training of `tiny`, the small SAM that comes with the repository.

``python -m samfleet.training --pack dsb_train_pack.npz --out sam_tiny.pth``

What is minimised follows Kirillov et al. 2023, "Segment Anything", section 3 and appendix A: the
loss of the best of three masks and the squared error of each mask's predicted IoU. The mask loss
is dice and cross-entropy; their focal loss leaves logits too flat for the stability score. Ours on
top: prompts on the background must be rated 0, and a dense head, dropped after training, has the
encoder tell each object's foreground, depth and centre.

An object needs only its surroundings, so the first steps see crops of 16 × 16 patches and the next
of 24 × 24, placed anywhere in the model's 48 × 48 (position embeddings are sliced to match), which
costs a ninth and a quarter. The last steps see whole frames, padded as SAM pads them.
"""

import argparse
import csv
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from skimage.measure import label as label_regions
from torch import Tensor, nn
from tqdm import tqdm

from samfleet.models import TINY_INPUT_SIZE, TINY_PATCH_SIZE, build_tiny
from samfleet.synthetic import MULTI_HUE_MAPS, draw_field, multi_hue, random_settings, single_hue

GRID = TINY_INPUT_SIZE // TINY_PATCH_SIZE
MASK_SCALE = 4  # low-resolution mask pixels along one side of a patch, as in SAM's decoder
MASK_STRIDE = TINY_PATCH_SIZE // MASK_SCALE
NEAR_MISS = 3.0  # pixels beside an object at which a prompt still means that object
VALIDATION_EVERY = 12  # each twelfth picture of the pack is never trained on


@dataclass(frozen=True)
class TrainingSettings:
    """How long and on what to train.

    Args:
        small_steps: Steps on crops of 16 × 16 patches.
        steps: Steps on crops of 24 × 24 patches after those.
        full_steps: Steps on whole frames after those.
        crops: Crops of one step; a quarter as many whole frames, at least one.
        prompts: Prompts per crop; twice as many per whole frame.
        synthetic: Part of the pictures, 0 to 1, that are synthetic.
        learning_rate: Peak of the schedule (see `learning_rate`).
        weight_decay: AdamW's.
        average: Decay of the moving average of the weights that is written out.
        seed: Seed of everything random.

    Raises:
        ValueError: if a value is out of its range.
    """

    small_steps: int = 2500
    steps: int = 350
    full_steps: int = 450
    crops: int = 4
    prompts: int = 24
    synthetic: float = 0.35
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    average: float = 0.995
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.small_steps, self.steps, self.full_steps) < 0 or self.total < 1:
            raise ValueError("there must be at least one step, and no negative number of them")
        if self.crops < 1 or self.prompts < 2:
            raise ValueError("a step needs at least one crop with two prompts")
        if not 0 <= self.synthetic <= 1 or not 0 <= self.average < 1:
            raise ValueError("synthetic must be in 0 to 1, average at least 0 and below 1")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate must be positive, weight_decay not negative")

    @property
    def total(self) -> int:
        """Number of steps in all."""
        return self.small_steps + self.steps + self.full_steps

    def patches(self, step: int) -> int:
        """Patches along one side of the crops of a step."""
        if step < self.small_steps:
            return GRID // 3
        return GRID // 2 if step < self.small_steps + self.steps else GRID


@dataclass(frozen=True)
class Picture:
    """A training picture: `image` uint8 (height, width), `labels` uint16 of that shape."""

    image: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.shape != self.labels.shape:
            raise ValueError(
                f"image {self.image.shape} and labels {self.labels.shape} must be of one 2-D shape"
            )


@dataclass(frozen=True)
class Example:
    """One training crop.

    Args:
        image: uint8, shape (side, side, 3), RGB.
        labels: int32, shape (side, side).
        points: float32, shape (prompts, 2), x and y in crop pixels; the prompts on or just
            beside an object come first.
        targets: int32, shape (prompts,), the label meant by each prompt, 0 on the background.
        corner: Row and column, in patches, of the crop within the model's frame.
    """

    image: np.ndarray
    labels: np.ndarray
    points: np.ndarray
    targets: np.ndarray
    corner: tuple[int, int]


def read_pack(path: str | os.PathLike) -> tuple[list[Picture], list[Picture]]:
    """Read the pictures ``i0, i1, …`` and label maps ``l0, l1, …`` of an npz pack.

    Returns:
        Pictures to train on, and those held out for validation.
    """
    with np.load(path, allow_pickle=False) as pack:
        count = sum(name[0] == "i" and name[1:].isdigit() for name in pack.files)
        if count == 0:
            raise ValueError(f"{path} holds no pictures named i0, i1, …")
        pictures = [Picture(_grey(pack[f"i{k}"]), pack[f"l{k}"]) for k in range(count)]
    train = [p for k, p in enumerate(pictures) if k % VALIDATION_EVERY]
    return train, pictures[::VALIDATION_EVERY]


def _grey(image: np.ndarray) -> np.ndarray:
    image = image if image.ndim == 2 else image[..., :3].max(axis=-1)
    return image.astype(np.uint8)


# --- examples -----------------------------------------------------------------------------------


def make_example(
    pictures: list[Picture], settings: TrainingSettings, patches: int, rng: np.random.Generator
) -> Example:
    """Draw one crop of so many patches a side, or one whole frame, with its prompts."""
    side, whole = patches * TINY_PATCH_SIZE, patches == GRID
    if not pictures or rng.random() < settings.synthetic:
        image, labels = _synthetic_crop(side, rng)
    else:
        picture = pictures[rng.integers(len(pictures))]
        cut = _scaled_frame if whole else _scaled_crop
        image, labels = cut(picture, side, rng)
    image, labels = _turned(image, labels, rng) if not whole else (image, labels)
    content = image.shape
    rgb = _colour(_degrade(image, rng), rng)
    rgb, labels = _padded(rgb, side), _padded(labels, side)
    prompts = settings.prompts * (2 if whole else 1)
    points, targets = draw_prompts(labels, content, prompts, rng)
    room = GRID - patches + 1
    corner = (int(rng.integers(room)), int(rng.integers(room)))
    return Example(rgb, labels.astype(np.int32), points, targets, corner)


def _synthetic_crop(side: int, rng) -> tuple[np.ndarray, np.ndarray]:
    diameter = float(np.exp(rng.uniform(np.log(9), np.log(90))))
    height, width = side, side
    if rng.random() < 0.3:
        width = int(rng.integers(side // 2, side))
    field = draw_field(random_settings(rng, height, width, diameter), rng)
    return field.image, field.labels.astype(np.int32)


def _scaled_frame(picture: Picture, side: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """A picture, a part of it or a larger field, with its longest side scaled to the frame."""
    image, labels = picture.image, picture.labels
    kind = rng.random()
    if kind < 0.3 and 0.5 * side / max(image.shape) * _typical_diameter(labels) > 7.5:
        image, labels = _mirrored(image, labels)
    elif kind > 0.7:
        (height, width), part = image.shape, rng.uniform(0.5, 1.0)
        h, w = max(int(height * part), 16), max(int(width * part), 16)
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        image, labels = image[y : y + h, x : x + w], labels[y : y + h, x : x + w]
    image, labels = _turned(image, labels, rng)
    return _resized(image, labels, side / max(image.shape))


def _mirrored(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four times the field: an object cut by a mirror's edge becomes one with its reflection."""
    height, width = image.shape
    grow = [(0, height), (0, width)]
    image, labels = np.pad(image, grow, mode="symmetric"), np.pad(labels, grow, mode="symmetric")
    return image, label_regions(labels, connectivity=1).astype(np.int32)


def _scaled_crop(picture: Picture, side: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """A crop at a scale between somewhat below and well above that of the whole frame."""
    scale = TINY_INPUT_SIZE / max(picture.image.shape) * np.exp(rng.uniform(-0.3, 0.5))
    diameter = _typical_diameter(picture.labels)
    if diameter:
        scale = np.clip(scale, 9 / diameter, 110 / diameter)
    size = int(np.ceil(side / scale)) + 1
    height, width = picture.image.shape
    y = int(rng.integers(max(height - size, 0) + 1))
    x = int(rng.integers(max(width - size, 0) + 1))
    if rng.random() < 0.2:  # reach beyond the picture, where SAM pads
        y, x = min(y + size // 4, height - height // 4), min(x + size // 4, width - width // 4)
    window = np.s_[y : y + size, x : x + size]
    image, labels = _resized(picture.image[window], picture.labels[window], float(scale))
    return image[:side, :side], labels[:side, :side]


def _typical_diameter(labels: np.ndarray) -> float:
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(np.sqrt(4 / np.pi * np.median(areas))) if areas.size else 0.0


def _resized(image, labels, scale: float) -> tuple[np.ndarray, np.ndarray]:
    size = tuple(max(1, round(n * scale)) for n in image.shape[::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=how).astype(np.float32) / 255
    labels = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    return image, labels.astype(np.int32)


def _turned(image, labels, rng) -> tuple[np.ndarray, np.ndarray]:
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if flip:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _padded(array: np.ndarray, side: int) -> np.ndarray:
    grow = [(0, side - array.shape[0]), (0, side - array.shape[1])]
    return np.pad(array, grow + [(0, 0)] * (array.ndim - 2))


def _degrade(image: np.ndarray, rng) -> np.ndarray:
    """Other blur, gain, contrast and noise: float32 0 to 1 in, uint8 out."""
    image = image.astype(np.float32)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.2:
        slope = np.linspace(0, rng.uniform(0, 0.2) * max(image.max(), 0.05), image.shape[1])
        image = image + slope[None, :: rng.choice([-1, 1])].astype(np.float32)
    if rng.random() < 0.7:  # stretched between percentiles, as for display
        low, high = np.percentile(image, [rng.uniform(0, 2), rng.uniform(99, 100)])
        image = (image - low) / max(high - low, 0.02)
        image = image * rng.uniform(0.7, 1.2)
    else:
        image = image * np.exp(rng.uniform(-0.7, 0.7))
    image = np.clip(image, 0, 1) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.4:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = image + rng.uniform(0, 0.06) * noise * np.sqrt(image + 0.05)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _colour(grey: np.ndarray, rng) -> np.ndarray:
    """Through a random look-up table: grey, single hue, several hues, or inverted."""
    kind = rng.random()
    if kind < 0.4:
        rgb = np.repeat(grey[..., None], 3, axis=2)
    elif kind < 0.8:
        rgb = single_hue(grey, _hue(rng))
    else:
        rgb = multi_hue(grey, str(rng.choice(list(MULTI_HUE_MAPS))))
    if rng.random() < 0.06:
        rgb = 255 - rgb
    if rng.random() < 0.15:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 98))]
        rgb = cv2.imdecode(cv2.imencode(".jpg", rgb, quality)[1], cv2.IMREAD_COLOR)
    return rgb


def _hue(rng) -> tuple[float, float, float]:
    if rng.random() < 0.6:  # the pure hues that microscope software offers
        colour = np.array([int(d) for d in f"{rng.integers(1, 7):03b}"], float)
    else:
        colour = rng.uniform(0, 1, 3)
    return tuple(colour / colour.max())


def draw_prompts(
    labels: np.ndarray, content: tuple[int, int], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Prompts anywhere in an object, just beside one, and on the background near and far.

    Args:
        labels: int, shape (side, side), 0 for background.
        content: Height and width of the part that is picture, from the top left corner.
        count: Number of prompts.

    Returns:
        Points, float32 (count, 2) as x and y, and the labels meant, int32 (count,), 0 for
        background; the prompts that mean an object come first.
    """
    picture = labels[: content[0], : content[1]]
    objects = np.unique(picture[picture > 0])
    near, distance = _nearest_object(picture)
    wanted = round(count * rng.uniform(0.6, 0.8)) if objects.size else 0
    rows = (
        [_inside_or_beside(near, distance, int(k), rng) for k in rng.choice(objects, wanted)]
        if wanted
        else []
    )
    meant = [int(near[y, x]) for y, x in rows]
    rows += _on_background(distance, count - wanted, rng)
    targets = np.array(meant + [0] * (count - wanted), np.int32)
    points = np.array(rows, np.float32)[:, ::-1] + 0.5
    return points, targets


def _nearest_object(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel the label of the nearest object, and the distance to it in pixels."""
    if not picture.any():
        return picture, np.full(picture.shape, np.inf, np.float32)
    background = (picture == 0).astype(np.uint8)
    distance, zone = cv2.distanceTransformWithLabels(
        background, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of = np.zeros(zone.max() + 1, picture.dtype)
    at = background == 0
    label_of[zone[at]] = picture[at]
    return label_of[zone], distance


def _inside_or_beside(near, distance, label: int, rng) -> tuple[int, int]:
    reach = NEAR_MISS if rng.random() < 0.3 else 0.0
    y, x = np.nonzero((near == label) & (distance <= reach))
    k = rng.integers(y.size)
    return int(y[k]), int(x[k])


def _on_background(distance, count: int, rng) -> list[tuple[int, int]]:
    close = np.argwhere((distance > NEAR_MISS) & (distance < 5 * NEAR_MISS))
    far = np.argwhere(distance > NEAR_MISS)
    if not far.size:  # nothing but object: beside the picture's middle there is no background
        far = np.argwhere(distance >= distance.max())
    rows = []
    for _ in range(count):
        pool = close if close.size and rng.random() < 0.6 else far
        rows.append(tuple(int(v) for v in pool[rng.integers(len(pool))]))
    return rows


# --- model --------------------------------------------------------------------------------------


class Trainee(nn.Module):
    """`tiny` with its training-only dense head; sees batches of crops of any grid size."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam
        channels = sam.mask_decoder.transformer_dim
        self.dense = nn.Conv2d(channels, 4 * MASK_SCALE**2, 1)

    def embed(self, images: Tensor, corners: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Image embeddings and their position encodings, each (crops, channels, grid, grid).

        Args:
            images: float32, shape (crops, 3, side, side), 0 to 255.
            corners: Row and column of each crop in the frame, in patches.
        """
        encoder = self.sam.image_encoder
        grid = images.shape[-1] // TINY_PATCH_SIZE
        x = (images - self.sam.pixel_mean) / self.sam.pixel_std
        windows = [np.s_[y : y + grid, x : x + grid] for y, x in corners]
        x = encoder.patch_embed(x)
        x = x + torch.stack([encoder.pos_embed[0][window] for window in windows])
        for block in encoder.blocks:
            x = torch.func.functional_call(block, _cropped_positions(block, grid), x)
        embedding = encoder.neck(x.permute(0, 3, 1, 2))
        encoding = self.sam.prompt_encoder.get_dense_pe()[0]
        return embedding, torch.stack([encoding[:, w[0], w[1]] for w in windows])

    def decode(
        self, embedding: Tensor, encoding: Tensor, points: Tensor, with_masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """SAM's mask decoder for many prompts of several crops at once.

        The same arithmetic as `MaskDecoder.predict_masks`, but what the first layer computes
        from the image alone is computed once a crop, the up-scaling runs as matrix products,
        and masks are made only where they are asked for.

        Args:
            embedding, encoding: From `embed`, (crops, channels, grid, grid).
            points: float32, shape (crops, prompts, 2), x and y in pixels of the frame.
            with_masks: bool, shape (crops * prompts,), which prompts' masks are wanted.

        Returns:
            Mask logits, (wanted, 4, grid, 4, grid, 4): a side's patch, then the row in it.
            Predicted IoUs, (crops * prompts, 4).
        """
        decoder, prompter = self.sam.mask_decoder, self.sam.prompt_encoder
        prompts = points.shape[1]
        flat = points.reshape(-1, 1, 2)
        ones = torch.ones(flat.shape[:2], device=flat.device)
        sparse, _ = prompter(points=(flat, ones), boxes=None, masks=None)
        output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([output.expand(len(sparse), -1, -1), sparse], dim=1)
        keys = (embedding + prompter.no_mask_embed.weight.view(1, -1, 1, 1)).flatten(2).mT
        queries, keys = _transform(
            decoder.transformer, tokens, keys, encoding.flatten(2).mT, prompts
        )
        ious = decoder.iou_prediction_head(queries[:, 0])
        masks = _upscale(decoder, queries[with_masks, 1:5], keys[with_masks])
        grid = embedding.shape[-1]
        return masks.unflatten(2, (grid, grid)).permute(0, 1, 2, 4, 3, 5), ious


def _cropped_positions(block: nn.Module, grid: int) -> dict[str, Tensor]:
    """A global block's relative positions, cut to those that occur within a smaller grid."""
    if block.window_size:
        return {}
    middle = block.attn.rel_pos_h.shape[0] // 2
    cut = slice(middle - grid + 1, middle + grid)
    return {f"attn.{k}": getattr(block.attn, k)[cut] for k in ("rel_pos_h", "rel_pos_w")}


def _transform(transformer, tokens, keys, encoding, prompts: int) -> tuple[Tensor, Tensor]:
    """`TwoWayTransformer.forward` with the first layer's image side shared by a crop's prompts.

    Args:
        tokens: (crops * prompts, n, channels); the point tokens are also their encoding.
        keys, encoding: (crops, pixels, channels).
    """
    start, queries = tokens, tokens
    first, crops = transformer.layers[0], len(keys)
    queries = first.norm1(first.self_attn(queries, queries, queries))
    asked = (queries + start).reshape(crops, -1, start.shape[-1])
    found = first.cross_attn_token_to_image(q=asked, k=keys + encoding, v=keys)
    queries = first.norm2(queries + found.reshape(queries.shape))
    queries = first.norm3(queries + first.mlp(queries))
    back = _shared_query_attention(
        first.cross_attn_image_to_token, keys + encoding, queries + start, queries, prompts
    )
    keys = first.norm4((keys[:, None] + back).flatten(0, 1))
    encoding = encoding.repeat_interleave(prompts, dim=0)
    for layer in transformer.layers[1:]:
        queries, keys = layer(queries=queries, keys=keys, query_pe=start, key_pe=encoding)
    found = transformer.final_attn_token_to_image(q=queries + start, k=keys + encoding, v=keys)
    return transformer.norm_final_attn(queries + found), keys


def _shared_query_attention(attention, q, k, v, prompts: int) -> Tensor:
    """`Attention.forward` where all prompts of a crop share their queries.

    Args:
        q: (crops, pixels, channels).
        k, v: (crops * prompts, n, channels).

    Returns:
        (crops, prompts, pixels, channels).
    """
    heads = attention.num_heads
    q = attention.q_proj(q).unflatten(-1, (heads, -1)).transpose(1, 2)[:, None]
    k = attention.k_proj(k).unflatten(-1, (heads, -1)).transpose(1, 2).unflatten(0, (-1, prompts))
    v = attention.v_proj(v).unflatten(-1, (heads, -1)).transpose(1, 2).unflatten(0, (-1, prompts))
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    return attention.out_proj((weights @ v).transpose(2, 3).flatten(3))


def _upscale(decoder, mask_tokens: Tensor, pixels: Tensor) -> Tensor:
    """Up-scaling and mask product of SAM's decoder: (prompts, masks, pixels, 4, 4).

    With kernel and stride 2 a transposed convolution is a matrix product for each pixel.
    """
    first, norm, activation, second, activation2 = decoder.output_upscaling
    x = pixels @ first.weight.permute(0, 2, 3, 1).flatten(1)
    x = x.unflatten(-1, (2, 2, -1)) + first.bias
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = x @ second.weight.permute(0, 2, 3, 1).flatten(1)
    x = activation2(x.unflatten(-1, (2, 2, -1)) + second.bias)
    mlps = decoder.output_hypernetworks_mlps
    hyper = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(mlps)], dim=1)
    masks = hyper @ x.flatten(1, -2).mT
    # (rows of 2, columns of 2, rows, columns) of each pixel become 4 rows of 4 columns.
    masks = masks.unflatten(2, (-1, 2, 2, 2, 2)).transpose(4, 5)
    return masks.flatten(3, 4).flatten(4, 5)


def initialise(sam: Sam, seed: int) -> None:
    """Start values from which small objects are learnt in minutes.

    SAM draws its position frequencies around one cycle a half frame, too coarse to tell
    neighbours apart in 64 channels: here they go up to 10. Queries and keys between tokens and
    image start out alike, so that a prompt's token attends to where the prompt is.
    """
    generator = torch.Generator().manual_seed(seed)
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    count = matrix.shape[1]
    size = torch.logspace(np.log10(0.4), np.log10(10), count)
    size = size[torch.randperm(count, generator=generator)]
    angle = torch.rand(count, generator=generator) * torch.pi
    matrix.copy_(torch.stack([size * angle.cos(), size * angle.sin()]))
    nn.init.trunc_normal_(sam.image_encoder.pos_embed, std=0.02, generator=generator)
    transformer = sam.mask_decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        nn.init.orthogonal_(attention.q_proj.weight, gain=1.7, generator=generator)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
    # Nearly all pixels lie outside a prompt's object: start from a mask logit of -4 everywhere.
    sam.mask_decoder.output_upscaling[3].bias[0] = 4.0
    for mlp in sam.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].bias[0] = -1.0


# --- losses -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Examples of one size as tensors on one device; see `Example` for the fields."""

    images: Tensor
    labels: Tensor
    points: Tensor
    targets: Tensor
    corners: list[tuple[int, int]]


def collate(examples: list[Example], device: torch.device) -> Batch:
    """Stack examples; the points move from their crop's pixels to those of the frame."""
    corners = [example.corner for example in examples]
    shift = np.array(corners, np.float32)[:, None, ::-1] * TINY_PATCH_SIZE
    points = np.stack([example.points for example in examples]) + shift
    images = np.stack([example.image for example in examples]).transpose(0, 3, 1, 2)
    return Batch(
        torch.from_numpy(np.ascontiguousarray(images)).to(device).float(),
        torch.from_numpy(np.stack([e.labels for e in examples])).to(device),
        torch.from_numpy(points.astype(np.float32)).to(device),
        torch.from_numpy(np.stack([e.targets for e in examples])).to(device),
        corners,
    )


def losses(model: Trainee, batch: Batch) -> dict[str, Tensor]:
    """The terms of the loss, each a scalar, with the mean true IoU of the best masks."""
    embedding, encoding = model.embed(batch.images, batch.corners)
    targets = batch.targets.flatten()
    meant = targets > 0
    logits, ious = model.decode(embedding, encoding, batch.points, meant)
    prompts = batch.targets.shape[1]
    which = torch.arange(len(targets), device=targets.device)[meant] // prompts
    truth = _target_masks(batch.labels, which, targets[meant])
    logits, truth = logits.flatten(2), truth.flatten(1)[:, None]
    mask_loss = _mask_losses(logits, truth)
    best = mask_loss[:, 1:].min(dim=1)
    with torch.no_grad():
        true_iou = _true_iou(logits, truth)
        wanted_iou = torch.zeros_like(ious)
        wanted_iou[meant] = true_iou
    count = max(int(meant.sum()), 1)
    everywhere = mask_loss[:, 1:].mean(dim=1)
    return {
        "mask": (best.values + 0.05 * everywhere + 0.1 * mask_loss[:, 0]).sum() / count,
        "iou": F.mse_loss(ious, wanted_iou),
        "dense": _dense_loss(model.dense(embedding), batch.labels),
        "best_iou": true_iou[:, 1:].amax(dim=1).sum() / count,
    }


LOSS_WEIGHTS = {"mask": 1.0, "iou": 4.0, "dense": 0.5}


def _target_masks(labels: Tensor, which: Tensor, targets: Tensor) -> Tensor:
    """Coverage of each mask pixel by its object: (prompts, grid, 4, grid, 4), 0 to 1."""
    masks = (labels[which] == targets[:, None, None]).float()
    masks = F.avg_pool2d(masks[:, None], MASK_STRIDE)[:, 0]
    grid = masks.shape[-1] // MASK_SCALE
    return masks.unflatten(2, (grid, MASK_SCALE)).unflatten(1, (grid, MASK_SCALE))


def _mask_losses(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy over the object's area, plus dice loss: (prompts, masks)."""
    truth = truth.expand_as(logits)
    chance = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(-1)
    area = truth.sum(-1)
    dice = 1 - (2 * (chance * truth).sum(-1) + 1) / (chance.sum(-1) + area + 1)
    # Over the area, so that an object of a few pixels weighs as much as a large one.
    return 0.5 * cross_entropy / (area + 16) + dice


def _true_iou(logits: Tensor, truth: Tensor) -> Tensor:
    mask, truth = logits > 0, truth >= 0.5
    union = (mask | truth).sum(-1)
    return (mask & truth).sum(-1) / union.clamp(min=1)


def _dense_loss(prediction: Tensor, labels: Tensor) -> Tensor:
    """Foreground, depth and offset to the centre of the object at every mask pixel."""
    prediction = F.pixel_shuffle(prediction, MASK_SCALE)
    sampled = labels[:, 1::MASK_STRIDE, 1::MASK_STRIDE]
    offset, depth = _centres_and_depths(sampled)
    inside = (sampled > 0).float()
    foreground = F.binary_cross_entropy_with_logits(prediction[:, 0], inside)
    depth_loss = F.smooth_l1_loss(prediction[:, 1], depth, beta=0.1)
    miss = F.smooth_l1_loss(prediction[:, 2:], offset, beta=0.1, reduction="none").sum(1)
    return foreground + depth_loss + (miss * inside).sum() / inside.sum().clamp(min=1)


def _centres_and_depths(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets to the centre, in units of 8 pixels, (crops, 2, …) and depths, 0 to 1."""
    crops, height, width = labels.shape
    count = int(labels.max()) + 1
    index = (labels + count * torch.arange(crops, device=labels.device).view(-1, 1, 1)).flatten()
    y = torch.arange(height, device=labels.device, dtype=torch.float32).view(1, -1, 1)
    x = torch.arange(width, device=labels.device, dtype=torch.float32).view(1, 1, -1)
    position = torch.stack([y.expand(labels.shape), x.expand(labels.shape)])
    total = torch.zeros(2, crops * count, device=labels.device)
    total = total.index_add(1, index, position.flatten(1))
    area = torch.bincount(index, minlength=crops * count).clamp(min=1)
    offset = (total / area)[:, index].view(position.shape) - position
    radius = (area / torch.pi).sqrt()[index].view(labels.shape)
    depth = (1 - offset.square().sum(0).sqrt() / (1.5 * radius)).clamp(min=0) * (labels > 0)
    return offset.transpose(0, 1) / 8, depth


# --- the run ------------------------------------------------------------------------------------


def train(
    train_pictures: list[Picture],
    validation: list[Picture],
    settings: TrainingSettings,
    out: Path,
    *,
    device: str = "cpu",
    workers: int = 1,
    save_every: int = 100,
    progress: bool = True,
) -> Path:
    """Train `tiny` and write its weights, half precision, to `out`.

    Beside `out` lie ``….checkpoint``, from which an interrupted run goes on, and ``….csv``,
    the log of losses. The same settings on the same device and versions give the same weights.

    Returns:
        `out`.
    """
    torch.manual_seed(settings.seed)
    sam = build_tiny()
    with torch.no_grad():
        initialise(sam, settings.seed)
    model = Trainee(sam).to(device).train()
    run = _Run(model, settings, out)
    run.resume()
    last = settings.total
    batches = _prefetched(train_pictures, settings, run.step, last, torch.device(device), workers)
    bar = tqdm(batches, total=last, initial=run.step, unit="step", disable=not progress)
    for batch in bar:
        values = run.update(batch)
        bar.set_postfix(mask=f"{values['mask']:.3f}", best_iou=f"{values['best_iou']:.3f}")
        if run.step % save_every == 0 or run.step == last:
            run.log(values, _validate(run.average, validation, settings, torch.device(device)))
            run.save()
    if out.parent.is_dir():
        _write_weights(run.average.sam, out)
    return out


class _Run:
    """The state of a training run that a checkpoint holds."""

    def __init__(self, model: Trainee, settings: TrainingSettings, out: Path) -> None:
        self.model, self.settings, self.out = model, settings, out
        self.step, self.started = 0, time.monotonic()
        decayed = [p for p in model.parameters() if p.ndim > 1]
        plain = [p for p in model.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": settings.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
        )
        self.average = Trainee(build_tiny()).to(next(model.parameters()).device).eval()
        self.average.load_state_dict(model.state_dict())
        self.recent: deque[dict[str, float]] = deque(maxlen=50)

    @property
    def checkpoint(self) -> Path:
        return self.out.with_name(self.out.name + ".checkpoint")

    def resume(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise ValueError(f"{self.checkpoint} is of another training: delete it to start anew")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]

    def save(self) -> None:
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        part = self.checkpoint.with_name(self.checkpoint.name + ".part")
        torch.save(state, part)
        os.replace(part, self.checkpoint)
        _write_weights(self.average.sam, self.out)

    def update(self, batch: Batch) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.settings)
        terms = losses(self.model, batch)
        loss = sum(weight * terms[name] for name, weight in LOSS_WEIGHTS.items())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        self.recent.append({name: float(value.detach()) for name, value in terms.items()})
        return {k: float(np.mean([r[k] for r in self.recent])) for k in self.recent[0]}

    def log(self, values: dict[str, float], validation: dict[str, float]) -> None:
        row = {"step": self.step, "seconds": round(time.monotonic() - self.started)}
        row |= {name: round(value, 5) for name, value in (values | validation).items()}
        path = self.out.with_name(self.out.name + ".csv")
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up over 50 steps, the peak, then over the last third linearly down to 2 %."""
    left = (settings.total - step) / settings.total
    return settings.learning_rate * min(1.0, (step + 1) / 50) * min(1.0, max(0.02, 3 * left))


def _batch(pictures, settings, step: int, seed_shift: int, device) -> Batch:
    # Each step has a generator of its own, so that a resumed run sees what it would have seen.
    rng = np.random.default_rng([settings.seed, seed_shift, step])
    patches = settings.patches(step)
    count = max(1, settings.crops // 4) if patches == GRID else settings.crops
    return collate([make_example(pictures, settings, patches, rng) for _ in range(count)], device)


def _prefetched(pictures, settings, first: int, last: int, device, workers: int) -> Iterator[Batch]:
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for step in range(first, last):
            waiting.append(pool.submit(_batch, pictures, settings, step, 0, device))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _validate(model: Trainee, pictures, settings, device, batches: int = 3) -> dict[str, float]:
    """Mean terms of the loss on held-out pictures, always on the same crops."""
    if not pictures:
        return {}
    fixed = replace(settings, small_steps=0, steps=batches, full_steps=0, synthetic=0.0)
    terms: list[dict[str, float]] = []
    with torch.no_grad():
        for step in range(batches):
            batch = _batch(pictures, fixed, step, 1, device)
            terms.append({k: float(v) for k, v in losses(model, batch).items()})
    return {f"validation_{k}": float(np.mean([t[k] for t in terms])) for k in terms[0]}


def _write_weights(sam: Sam, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    torch.save({k: v.detach().half().cpu() for k, v in sam.state_dict().items()}, part)
    os.replace(part, path)


def main(arguments: list[str] | None = None) -> None:
    """The command line; ``--help`` describes it."""
    defaults = TrainingSettings()
    parser = argparse.ArgumentParser(description=train.__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, help="npz of pictures and label maps; none: synthetic")
    parser.add_argument("--out", type=Path, required=True, help="weights file to write")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    parser.add_argument("--workers", type=int, default=1, help="threads that draw examples")
    for name in ("small_steps", "steps", "full_steps", "crops", "prompts", "seed"):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, default=getattr(defaults, name))
    for name in ("synthetic", "learning_rate"):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=float, default=getattr(defaults, name))
    args = vars(parser.parse_args(arguments))
    torch.set_num_threads(args.pop("threads"))
    pack, out = args.pop("pack"), args.pop("out")
    device, workers = args.pop("device"), args.pop("workers")
    pictures, validation = read_pack(pack) if pack else ([], [])
    settings = TrainingSettings(**args)
    out.parent.mkdir(parents=True, exist_ok=True)
    train(pictures, validation, settings, out, device=device, workers=workers)


if __name__ == "__main__":
    main()
