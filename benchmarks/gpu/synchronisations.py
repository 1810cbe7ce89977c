"""Launches, copies and waits of 529 prompts on vit_h, and the kernels that take longest."""

from __future__ import annotations

from collections import Counter

from benchmarks.common import fluorescence
from benchmarks.gpu.common import is_on_device, parse_device, precisions_on, profiled, random_model
from benchmarks.synthetic import SyntheticDecoder, SyntheticOutputs, synthetic_decoder
from samfleet.sam.generator import MaskGenerator

POINTS_PER_SIDE = 23
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
SHOWN = 12


def main() -> None:
    device = parse_device(__doc__)
    sam = random_model(device)
    side = sam.image_encoder.img_size
    rgb = fluorescence(side, side)
    for name in precisions_on(device):
        generator = MaskGenerator(
            sam,
            name,
            points_per_side=POINTS_PER_SIDE if device.type == "cuda" else 3,
            pred_iou_thresh=0.75,
            stability_score_thresh=0.75,
            min_mask_region_area=100,
        )
        synthetic = synthetic_decoder(sam, generator.point_grids[0])
        synthetic.prepare(device)
        generator._decoder = SyntheticOutputs(synthetic, real=generator._decoder)

        def find(
            generator: MaskGenerator = generator, made_up: SyntheticDecoder = synthetic
        ) -> None:
            made_up.restart()
            generator.find(rgb)

        find()
        profile, busy = profiled(find, device)
        calls, times, counts = Counter[str](), Counter[str](), Counter[str]()
        for event in profile.events():
            if is_on_device(event):
                times[event.name[:90]] += event.time_range.end - event.time_range.start
                counts[event.name[:90]] += 1
            elif event.name.startswith(("cuda", "cu")):
                calls[event.name] += 1
        print(
            f"{name}: busy {busy:.0%}, {sum(counts.values())} kernels and copies, "
            f"{sum(calls[wait] for wait in WAITS)} waits, calls {dict(calls.most_common(6))}"
        )
        for kernel, microseconds in times.most_common(SHOWN):
            print(f"  {microseconds / 1e3:9.2f} ms {counts[kernel]:5d} × {kernel}")
    print("SYNCHRONISATIONS: done")


if __name__ == "__main__":
    main()
