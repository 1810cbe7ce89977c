"""Our decoders against segment_anything's, every prompt upscaled, for one image embedding."""

import argparse

import torch

from benchmarks.common import interleave, report, use_one_thread
from samfleet.sam.generator.decoder import Decoder
from samfleet.sam.generator.fast_decoder import FastDecoder
from samfleet.sam.model import build_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vit_b", help="random weights; the decoder is the same")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    use_one_thread()
    torch.manual_seed(0)

    sam = build_model(arguments.model).eval()
    channels = sam.prompt_encoder.embed_dim
    embedding = torch.randn(1, channels, *sam.prompt_encoder.image_embedding_size)
    points = torch.rand(arguments.prompts, 2) * sam.image_encoder.img_size

    def vanilla() -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.ones(len(points), 1, dtype=torch.int)
        sparse, dense = sam.prompt_encoder((points[:, None], labels), None, None)
        position = sam.prompt_encoder.get_dense_pe()
        masks, iou = sam.mask_decoder(embedding, position, sparse, dense, True)
        return masks.flatten(0, 1), iou.flatten()

    def ours(decoder: Decoder) -> tuple[torch.Tensor, torch.Tensor]:
        decoder.set_image(embedding)
        decoded = decoder.decode(points, 0.0)
        return decoded.logits, decoded.predicted_iou

    exact, fast = Decoder(sam), FastDecoder(sam)
    sides = {"exact": lambda: ours(exact), "fast": lambda: ours(fast), "vanilla": vanilla}
    with torch.no_grad():
        interleave(sides, 1)
        results = interleave(sides, arguments.repeats)
    logits, _ = results["vanilla"][1]
    report(
        claim="decoder",
        model=arguments.model,
        prompts=len(points),
        masks_compared=len(logits),
        rejected_early=0.0,
        cpu_seconds={name: result[0] for name, result in results.items()},
        ratio={name: results["vanilla"][0] / results[name][0] for name in ("exact", "fast")},
        differing_logits={
            name: int((results[name][1][0] != logits).sum()) for name in ("exact", "fast")
        },
        largest_difference={
            name: float((results[name][1][0] - logits).abs().max()) for name in ("exact", "fast")
        },
        largest_logit=float(logits.abs().max()),
        signs_that_differ={
            name: int(((results[name][1][0] > 0) != (logits > 0)).sum())
            for name in ("exact", "fast")
        },
    )


if __name__ == "__main__":
    main()
