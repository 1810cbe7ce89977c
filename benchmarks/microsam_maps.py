"""Our map decoder against torch_em's own modules, in the environment of `benchmarks.microsam`.

The same weights, drawn from a seed, for both kinds of upsampling, with the statistics of the image and of the
training. `OMP_NUM_THREADS=1 .venv-microsam/bin/python -m benchmarks.microsam_maps`
"""

import argparse
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from micro_sam.instance_segmentation import DecoderAdapter, get_unetr

from benchmarks.common import interleave, report, use_one_thread
from samfleet.sam.model import build_model
from samfleet.sam.prompts.unetr import UnetrDecoder, resize_maps

SIZES = {"512²": ((1024, 1024), (512, 512)), "692 × 519": ((768, 1024), (519, 692))}
"""(height, width) in the encoder's frame and of the image."""


def drawn(module: torch.nn.Module, seed: int = 7) -> dict[str, torch.Tensor]:
    """Weights of a state dict from a seed, of a size that keeps activations near 1."""
    random = np.random.default_rng(seed)
    state = {}
    for name, tensor in module.state_dict().items():
        values = torch.from_numpy(np.asarray(random.standard_normal(tuple(tensor.shape))))
        if tensor.ndim == 4:
            values *= (2 / tensor[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            values = 0.5 + 0.5 * values.abs()
        elif name.endswith("weight"):
            values = 1 + 0.1 * values
        else:
            values *= 0.05
        state[name] = values.to(tensor.dtype)
    return state


def compare(
    encoder: torch.nn.Module, transposed: bool, statistics: str, side: int, repeats: int
) -> dict[str, object]:
    """Both decoders on one embedding: the largest difference of their maps, and their times."""
    ours = UnetrDecoder(transposed, statistics).eval()
    state = drawn(ours)
    ours.load_state_dict(state)
    theirs = DecoderAdapter(get_unetr(encoder, OrderedDict(state), device="cpu"))
    theirs.train(statistics == "image")
    embedding = torch.from_numpy(
        np.random.default_rng(3).standard_normal((1, 256, side, side)).astype(np.float32)
    )
    sides: dict[str, Callable] = {
        "ours": partial(ours, embedding),
        "torch_em": partial(theirs._forward_impl, embedding),
    }
    with torch.no_grad():
        results = interleave(sides, repeats)
    maps = {name: result for name, (_, result) in results.items()}
    differences = {"frame": float((maps["ours"] - maps["torch_em"]).abs().max())}
    for name, (unpadded, size) in SIZES.items():
        resized = resize_maps(maps["ours"], 1024, unpadded, size)
        expected = theirs.postprocess_masks(maps["torch_em"], unpadded, size)[0]
        differences[name] = float((resized - expected).abs().max())
    return {
        "largest_difference": differences,
        "seconds": {name: seconds for name, (seconds, _) in results.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=64, help="of the embedding; SAM's are 64")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    use_one_thread()
    encoder = build_model("vit_b").image_encoder
    report(
        claim="maps equal to torch_em's",
        **vars(arguments),
        decoders={
            f"{'transposed' if transposed else 'bilinear'}, {statistics}": compare(
                encoder, transposed, statistics, arguments.side, arguments.repeats
            )
            for transposed in (False, True)
            for statistics in ("image", "trained")
        },
    )


if __name__ == "__main__":
    main()
