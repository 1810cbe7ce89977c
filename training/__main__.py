"""The command line of the training."""

import argparse
from pathlib import Path

import torch

from training.pack import read_pack
from training.run import train
from training.settings import TrainingSettings


def main(arguments: list[str] | None = None) -> None:
    """Train `tiny` as the command line says; ``--help`` describes the options."""
    defaults = TrainingSettings()
    parser = argparse.ArgumentParser(
        description="Train `tiny` and write its weights in half precision."
    )
    parser.add_argument(
        "--pack",
        type=Path,
        action="append",
        default=[],
        help="npz of images and label maps, as often as there are packs; without it, all images are synthetic",
    )
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument(
        "--new-maps", action="store_true", help="start with a new map decoder all the same"
    )
    parser.add_argument("--freeze-encoder", action="store_true", help="leave it as it is")
    parser.add_argument(
        "--bfloat16", action="store_true", help="faster on processors and GPUs that know bfloat16"
    )
    parser.add_argument("--out", type=Path, required=True, help="weights file to write")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    parser.add_argument("--workers", type=int, default=1, help="threads that draw examples")
    for name in ("small_steps", "steps", "full_steps", "rounds", "crops", "prompts", "seed"):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, default=getattr(defaults, name))
    for name in ("synthetic", "learning_rate", "sam_rate", "average"):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=float, default=getattr(defaults, name))
    args = vars(parser.parse_args(arguments))
    torch.set_num_threads(args.pop("threads"))
    packs, out = args.pop("pack"), args.pop("out")
    run = {name: args.pop(name) for name in ("start", "new_maps", "bfloat16", "device", "workers")}
    images, validation = [], []
    for pack in packs:
        some, held_out = read_pack(pack)
        images += some
        validation += held_out
    settings = TrainingSettings(**args)
    out.parent.mkdir(parents=True, exist_ok=True)
    train(images, validation, settings, out, **run)


if __name__ == "__main__":
    main()
