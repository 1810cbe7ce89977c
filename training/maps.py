"""Train the map decoder of `tiny` on its frozen encoder.

``python -m training.maps --pack dsb_train_pack.npz --out maps_tiny.pth``
"""

import argparse
import csv
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from samfleet.resources import TINY_WEIGHTS
from samfleet.sam.model import load_model
from samfleet.sam.prompts.tiny import TinyMapDecoder
from training.examples import make_example
from training.fields import Field
from training.losses import Batch, collate
from training.pack import read_pack
from training.settings import GRID, TrainingSettings
from training.trainee import Trainee

SMALLEST_WEIGHT, LARGEST_WEIGHT, PLAIN_DIAMETER = 0.5, 2.5, 24.0
"""An object's pixels weigh 24 ÷ its diameter in pixels, within these limits: small ones count as well."""


@dataclass(frozen=True)
class MapSettings:
    """How long to train the map decoder, and on what.

    Args:
        steps: number of steps.
        crops: crops of 32 × 32 patches in a step.
        synthetic: fraction of synthetic images, 0 to 1.
        learning_rate: its peak; it rises for 50 steps and falls like a cosine.
        seed: of all random numbers.
    """

    steps: int = 2000
    crops: int = 4
    synthetic: float = 0.2
    learning_rate: float = 3e-3
    seed: int = 0


def target_maps(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the maps should be, and how much each pixel weighs.

    Args:
        labels: (height, width) int, 0 for background.

    Returns:
        (3, height, width) float32: 1 in objects; the distance to the object's centre, the pixel farthest from
        its boundary, divided by the largest one in the object; 1 minus the distance to the boundary divided
        by the largest one. Both distances are 1 outside. And the weights, (height, width) float32.
    """
    maps = np.ones((3, *labels.shape), np.float32)
    maps[0] = labels > 0
    weights = np.full(labels.shape, SMALLEST_WEIGHT, np.float32)
    for number in np.unique(labels[labels > 0]):
        rows, columns = np.nonzero(labels == number)
        box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        mask = labels[box] == number
        # the frame's edge is no boundary: the object goes on behind it
        whole = np.pad(mask, 1)
        for axis, (low, high) in enumerate(
            zip((rows.min(), columns.min()), (rows.max(), columns.max()), strict=True)
        ):
            edge = np.moveaxis(whole, axis, 0)
            edge[0] |= (low == 0) & edge[1]
            edge[-1] |= (high == labels.shape[axis] - 1) & edge[-2]
        depth = cv2.distanceTransform(whole.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        depth = depth[1:-1, 1:-1] * mask
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        grid = np.mgrid[: mask.shape[0], : mask.shape[1]]
        distance = np.hypot(grid[0] - y, grid[1] - x)
        maps[1][box][mask] = (distance / max(distance[mask].max(), 1))[mask]
        maps[2][box][mask] = (1 - depth / depth.max())[mask]
        diameter = np.sqrt(4 / np.pi * mask.sum())
        weights[box][mask] = np.clip(PLAIN_DIAMETER / diameter, SMALLEST_WEIGHT, LARGEST_WEIGHT)
    return maps, weights


def map_loss(logits: Tensor, maps: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Cross-entropy and dice of the foreground, squared error of the distances; each a scalar.

    Args:
        logits, maps: (crops, 3, height, width).
        weights: (crops, height, width).
    """
    total = weights.sum()
    foreground = F.binary_cross_entropy_with_logits(logits[:, 0], maps[:, 0], reduction="none")
    chance = logits[:, 0].sigmoid()
    shared = (chance * maps[:, 0] * weights).sum()
    both = ((chance + maps[:, 0]) * weights).sum()
    miss = (logits[:, 1:].sigmoid() - maps[:, 1:]).square().sum(1)
    return {
        "foreground": (foreground * weights).sum() / total,
        "distances": (miss * weights).sum() / total,
        "dice": 1 - 2 * shared / (both + 1),
    }


LOSS_WEIGHTS = {"foreground": 1.0, "distances": 4.0, "dice": 0.5}


def train_maps(
    images: list[Field],
    validation: list[Field],
    settings: MapSettings,
    weights: Path,
    out: Path,
    *,
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """Train the map decoder, write its weights in half precision to `out` and its log beside it.

    Args:
        weights: the weights of `tiny`, whose encoder is used as it is.

    Returns:
        `out`.
    """
    torch.manual_seed(settings.seed)
    encoder = Trainee(load_model("tiny", weights))
    decoder = TinyMapDecoder().train()
    optimiser = torch.optim.AdamW(decoder.parameters(), settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, settings.steps, pct_start=min(0.5, 50 / settings.steps)
    )
    log, started = [], time.monotonic()
    recent: deque[dict[str, float]] = deque(maxlen=100)
    batches = _prefetched(images, settings, workers)
    for step, batch in enumerate(tqdm(batches, total=settings.steps, disable=not progress), 1):
        terms = _terms(encoder, decoder, batch)
        optimiser.zero_grad(set_to_none=True)
        loss = torch.stack([LOSS_WEIGHTS[name] * value for name, value in terms.items()]).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent.append({name: float(value.detach()) for name, value in terms.items()})
        if step % 200 == 0 or step == settings.steps:
            row: dict[str, float] = {"step": step, "seconds": round(time.monotonic() - started)}
            row |= {name: round(float(np.mean([r[name] for r in recent])), 5) for name in terms}
            log.append(row | _validated(encoder, decoder, validation, settings))
            _write(decoder, log, out)
    return out


def _terms(
    encoder: Trainee, decoder: TinyMapDecoder, batch: tuple[Batch, Tensor, Tensor]
) -> dict[str, Tensor]:
    crops, maps, weights = batch
    with torch.no_grad():
        embedding, _ = encoder.embed(crops.images, crops.corners)
    return map_loss(decoder.logits(embedding), maps, weights)


def _validated(
    encoder: Trainee, decoder: TinyMapDecoder, images: list[Field], settings: MapSettings
) -> dict[str, float]:
    """The mean terms of the loss on held-out images, always on the same crops."""
    if not images:
        return {}
    decoder.eval()
    with torch.no_grad():
        terms = [
            _terms(encoder, decoder, _batch(images, settings, step, 1, synthetic=0.0))
            for step in range(4)
        ]
    decoder.train()
    return {
        f"validation_{name}": round(float(np.mean([float(t[name]) for t in terms])), 5)
        for name in terms[0]
    }


def _batch(
    images: list[Field], settings: MapSettings, step: int, shift: int, synthetic: float
) -> tuple[Batch, Tensor, Tensor]:
    random = np.random.default_rng([settings.seed, shift, step])
    drawing = TrainingSettings(synthetic=synthetic, prompts=2)
    examples = [make_example(images, drawing, GRID // 2, random) for _ in range(settings.crops)]
    targets = [target_maps(example.labels) for example in examples]
    maps, weights = (torch.from_numpy(np.stack(each)) for each in zip(*targets, strict=True))
    return collate(examples, torch.device("cpu")), maps, weights


def _prefetched(
    images: list[Field], settings: MapSettings, workers: int
) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for step in range(settings.steps):
            waiting.append(pool.submit(_batch, images, settings, step, 0, settings.synthetic))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _write(decoder: TinyMapDecoder, log: list[dict], out: Path) -> None:
    state = decoder.state_dict()
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    part = out.with_name(out.name + ".part")
    torch.save(halves, part)
    os.replace(part, out)
    with out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, log[0])
        writer.writeheader()
        writer.writerows(log)


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says; ``--help`` describes the options."""
    defaults = MapSettings()
    parser = argparse.ArgumentParser(description="Train the map decoder of `tiny`.")
    parser.add_argument("--pack", type=Path, help="npz of images and label maps")
    parser.add_argument("--weights", type=Path, default=TINY_WEIGHTS, help="weights of `tiny`")
    parser.add_argument("--out", type=Path, required=True, help="weights file to write")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    images, validation = read_pack(args.pack) if args.pack else ([], [])
    settings = MapSettings(steps=args.steps, seed=args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    train_maps(images, validation, settings, args.weights, args.out)


if __name__ == "__main__":
    main()
