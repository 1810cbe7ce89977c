"""The losses of a batch of crops."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samfleet.sam.model import TINY_PATCH_SIZE
from training.examples import Example
from training.settings import MASK_SCALE, MASK_STRIDE
from training.trainee import Trainee


@dataclass(frozen=True)
class Batch:
    """Examples of the same size as tensors on one device; `Example` describes the fields."""

    images: Tensor
    labels: Tensor
    points: Tensor
    targets: Tensor
    corners: list[tuple[int, int]]
    dense: Tensor
    maps: Tensor
    weights: Tensor


def collate(examples: list[Example], device: torch.device) -> Batch:
    """Stack examples, and convert points from pixels of the crop to pixels of the frame."""
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
        torch.tensor([e.dense for e in examples], device=device),
        torch.from_numpy(np.stack([e.maps for e in examples])).to(device),
        torch.from_numpy(np.stack([e.weights for e in examples])).to(device),
    )


def losses(model: Trainee, batch: Batch) -> dict[str, Tensor]:
    """The terms of the loss and the mean true IoUs of the masks, each a scalar."""
    images = model.normalised(batch.images)
    targets = batch.targets.flatten()
    meant = targets > 0
    with torch.autocast(images.device.type, torch.bfloat16, enabled=model.in_bfloat16):
        embedding, encoding = model.embed(images, batch.corners)
        maps, dense = model.maps.logits(embedding, images)
        embedding = embedding + dense * batch.dense[:, None, None, None]
        logits, ious = model.decode(embedding, encoding, batch.points, meant)
    maps, logits, ious = maps.float(), logits.float(), ious.float()
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
        "mask": (best.values + 0.05 * everywhere + mask_loss[:, 0]).sum() / count,
        "iou": F.mse_loss(ious, wanted_iou),
        "best_iou": true_iou[:, 1:].amax(dim=1).sum() / count,
        "only_iou": true_iou[:, 0].sum() / count,
    } | map_losses(maps, batch.maps, batch.weights)


LOSS_WEIGHTS = {"mask": 1.0, "iou": 4.0, "foreground": 1.0, "distances": 4.0, "dice": 0.5}


def _target_masks(labels: Tensor, which: Tensor, targets: Tensor) -> Tensor:
    """How much of each mask pixel its object covers, 0 to 1: (prompts, grid, 4, grid, 4)."""
    masks = (labels[which] == targets[:, None, None]).float()
    masks = F.avg_pool2d(masks[:, None], MASK_STRIDE)[:, 0]
    grid = masks.shape[-1] // MASK_SCALE
    return masks.unflatten(2, (grid, MASK_SCALE)).unflatten(1, (grid, MASK_SCALE))


def _mask_losses(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy divided by the area of the object, plus soft Jaccard loss: (prompts, masks).

    The latter is 1 minus the IoU of what is probable with the object, following Rahman & Wang 2016, "Optimizing
    intersection-over-union in deep neural networks for image segmentation".
    """
    truth = truth.expand_as(logits)
    chance = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(-1)
    area = truth.sum(-1)
    shared = (chance * truth).sum(-1)
    jaccard = 1 - (shared + 1) / (chance.sum(-1) + area - shared + 1)
    # Dividing by the area gives an object of a few pixels the same weight as a large one.
    return 0.5 * cross_entropy / (area + 16) + jaccard


def _true_iou(logits: Tensor, truth: Tensor) -> Tensor:
    mask, truth = logits > 0, truth >= 0.5
    union = (mask | truth).sum(-1)
    return (mask & truth).sum(-1) / union.clamp(min=1)


def map_losses(logits: Tensor, maps: Tensor, weights: Tensor) -> dict[str, Tensor]:
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
