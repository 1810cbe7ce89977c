"""Average the weights of several trainings: `python -m training.average --out OUT.pth ONE.pth OTHER.pth …`.

Trainings that go on from one another lie in one basin, where the mean of their weights is better than each of them:
Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time".
"""

import argparse
import os
from pathlib import Path

import torch


def average(paths: list[Path], out: Path) -> Path:
    """Write the mean of weights files as `training.run.train` writes them, in half precision.

    Raises:
        ValueError: the files do not have the same parts with the same tensors.
    """
    models = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    first = models[0]
    for path, model in zip(paths, models, strict=True):
        if _shapes(model) != _shapes(first):
            raise ValueError(f"{path} is of another model than {paths[0]}")
    mean = {
        name: {key: _mean([model[name][key] for model in models]) for key in part}
        for name, part in first.items()
    }
    part = out.with_name(out.name + ".part")
    torch.save(mean, part)
    os.replace(part, out)
    return out


def _shapes(model: dict) -> dict:
    return {name: {k: v.shape for k, v in part.items()} for name, part in model.items()}


def _mean(values: list[torch.Tensor]) -> torch.Tensor:
    """The mean of floating-point tensors in their type; of others, which count batches, the first."""
    first = values[0]
    if not first.is_floating_point():
        return first
    return torch.stack([value.float() for value in values]).mean(0).to(first.dtype)


def main(arguments: list[str] | None = None) -> None:
    """Average as the command line says."""
    parser = argparse.ArgumentParser(description="Average the weights of several trainings.")
    parser.add_argument("weights", type=Path, nargs="+", help="weights files of one model")
    parser.add_argument("--out", type=Path, required=True, help="weights file to write")
    given = parser.parse_args(arguments)
    average(given.weights, given.out)


if __name__ == "__main__":
    main()
