"""A training run with its steps, its checkpoint and its log."""

import csv
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from samfleet.sam.model import build_tiny, load_model
from samfleet.sam.prompts.loading import load_map_decoder
from training.examples import make_example
from training.fields import Field
from training.initialisation import initialise
from training.losses import LOSS_WEIGHTS, Batch, collate, losses
from training.pack import balanced
from training.settings import TrainingSettings
from training.trainee import Trainee


def train(
    train_images: list[Field],
    validation: list[Field],
    settings: TrainingSettings,
    out: Path,
    *,
    start: Path | None = None,
    new_maps: bool = False,
    bfloat16: bool = False,
    device: str = "cpu",
    workers: int = 1,
    save_every: int = 200,
    progress: bool = True,
) -> Path:
    """Train `tiny` with its map decoder and write the weights of both in half precision to `out`.

    Next to `out` are ``….checkpoint``, from which an interrupted run continues, and ``….csv``, the
    log of the losses. The same settings give the same weights but for rounding, whose
    last bits depend on how memory is aligned.

    Args:
        start: Weights to start from, instead of random ones.
        new_maps: Start with a new map decoder all the same.
        bfloat16: Compute in bfloat16 where it does little harm; weights stay as they are.

    Returns:
        `out`.
    """
    torch.manual_seed(settings.seed)
    sam = build_tiny()
    with torch.no_grad():
        initialise(sam, settings.seed)
    model = Trainee(sam, bfloat16)
    if start:
        sam.load_state_dict(load_model("tiny", start).state_dict())
        if not new_maps:
            model.maps.load_state_dict(load_map_decoder("tiny", start).state_dict())
    sam.image_encoder.requires_grad_(not settings.freeze_encoder)
    model = model.to(device).train()
    run = _Run(model, settings, out)
    run.resume()
    last = settings.total
    images = balanced(train_images)
    batches = _prefetched(images, settings, run.step, last, torch.device(device), workers)
    bar = tqdm(batches, total=last, initial=run.step, unit="step", disable=not progress)
    for batch in bar:
        values = run.update(batch)
        bar.set_postfix(only_iou=f"{values['only_iou']:.3f}", dice=f"{values['dice']:.3f}")
        if run.step % save_every == 0 or run.step == last:
            run.log(values, _validate(run.average, validation, settings, torch.device(device)))
            run.save()
    if out.parent.is_dir():
        _write_weights(run.average, out)
    return out


class _Run:
    """The state of a training run that a checkpoint holds."""

    def __init__(self, model: Trainee, settings: TrainingSettings, out: Path) -> None:
        self.model, self.settings, self.out = model, settings, out
        self.step, self.started = 0, time.monotonic()
        parts = ((model.sam, settings.sam_rate), (model.maps, 1.0))
        self.optimiser = torch.optim.AdamW(
            [
                {
                    "params": [
                        p for p in part.parameters() if p.requires_grad and (p.ndim > 1) == decays
                    ],
                    "weight_decay": settings.weight_decay * decays,
                    "rate": rate,
                }
                for part, rate in parts
                for decays in (True, False)
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
            raise ValueError(
                f"{self.checkpoint} belongs to another training: delete it to start again"
            )
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
        _write_weights(self.average, self.out)

    def update(self, batch: Batch) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * learning_rate(self.step, self.settings)
        terms = losses(self.model, batch)
        weighted = (weight * terms[name] for name, weight in LOSS_WEIGHTS.items())
        loss = reduce(torch.add, weighted)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            averages = self.average.state_dict()
            for name, now in self.model.state_dict().items():
                if now.is_floating_point():  # with the statistics of the batch norms
                    averages[name].lerp_(now, 1 - decay)
        self.recent.append({name: float(value.detach()) for name, value in terms.items()})
        return {k: float(np.mean([r[k] for r in self.recent])) for k in self.recent[0]}

    def log(self, values: dict[str, float], validation: dict[str, float]) -> None:
        row: dict[str, float] = {
            "step": self.step,
            "seconds": round(time.monotonic() - self.started),
        }
        row |= {name: round(value, 5) for name, value in (values | validation).items()}
        path = self.out.with_name(self.out.name + ".csv")
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Rise linearly for 100 steps, stay, then fall linearly to 2 % over the last half.

    Each round repeats this, following Loshchilov & Hutter 2017, "SGDR".
    """
    steps = settings.round_steps
    done = step % steps
    left = (steps - done) / steps
    return settings.learning_rate * min(1.0, (done + 1) / 100) * min(1.0, max(0.02, 2 * left))


def _batch(
    images: list[Field],
    settings: TrainingSettings,
    step: int,
    seed_shift: int,
    device: torch.device,
) -> Batch:
    # Each step has its own generator, so that a resumed run sees the same examples.
    rng = np.random.default_rng([settings.seed, seed_shift, step])
    count, patches = settings.size(step)
    return collate([make_example(images, settings, patches, rng) for _ in range(count)], device)


def _prefetched(
    images: list[Field],
    settings: TrainingSettings,
    first: int,
    last: int,
    device: torch.device,
    workers: int,
) -> Iterator[Batch]:
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for step in range(first, last):
            waiting.append(pool.submit(_batch, images, settings, step, 0, device))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _validate(
    model: Trainee,
    images: list[Field],
    settings: TrainingSettings,
    device: torch.device,
    batches: int = 3,
) -> dict[str, float]:
    """The mean terms of the loss on held-out images, always on the same crops."""
    if not images:
        return {}
    fixed = replace(settings, small_steps=0, steps=batches, full_steps=0, rounds=1, synthetic=0.0)
    terms: list[dict[str, float]] = []
    with torch.no_grad():
        for step in range(batches):
            batch = _batch(images, fixed, step, 1, device)
            terms.append({k: float(v) for k, v in losses(model, batch).items()})
    return {f"validation_{k}": float(np.mean([t[k] for t in terms])) for k in terms[0]}


def _write_weights(model: Trainee, path: Path) -> None:
    """Write the model and its map decoder as one file, as micro-sam does."""
    parts = {"model_state": model.sam, "decoder_state": model.maps}
    halves = {
        name: {
            key: (value.half() if value.is_floating_point() else value).cpu()
            for key, value in module.state_dict().items()
        }
        for name, module in parts.items()
    }
    part = path.with_name(path.name + ".part")
    torch.save(halves, part)
    os.replace(part, path)
