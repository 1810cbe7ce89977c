"""Our prompts from a decoder beside micro-sam's own `AutomaticPromptGenerator`, with the same weights.

micro-sam is no dependency of samfleet. An environment that shares all else takes two minutes and 265 MB:

    python3 -m venv .venv-microsam
    .venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \\
        > "$(.venv-microsam/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/shared.pth"
    .venv-microsam/bin/pip install --no-deps -r benchmarks/microsam.txt
    OMP_NUM_THREADS=1 .venv-microsam/bin/python -m benchmarks.microsam --model tiny

`--model tiny`: its trained weights on the demo's images, with maps that are drawn from their labels, the same on both
sides, and a second prompt beside each one. `--model vit_b`: random weights for everything, on one drawn image of 1024 × 1024 pixels. Encoder, maps, prompts
and masks are each side's own; since the maps of random weights are noise with more than a thousand seeds, both
sides then ask at the same points among those that both have found.

What is compared, mask by mask: those of the same prompt before suppression; those that are left after it; and the
objects that micro-sam's merging of masks makes of either side's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import micro_sam.inference
import micro_sam.instance_segmentation as microsam
import micro_sam.util
import numpy as np
import torch
from pycocotools import mask as coco
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide

from benchmarks.common import fluorescence, matched, report, use_one_thread
from samfleet.config.schema import complete_config
from samfleet.config.settings import SeedSettings, settings_of
from samfleet.sam.generator import MaskGenerator
from samfleet.sam.masks.records import surviving_masks
from samfleet.sam.model import build_model, load_model
from samfleet.sam.prompts.prompts import MapPrompts, Prompts
from samfleet.sam.prompts.seeds import seed_points
from samfleet.sam.prompts.unetr import UnetrDecoder

DEMO = Path(__file__).resolve().parents[1] / "resources" / "demo"
BATCH = 32  # prompts at once, micro-sam's default
LEAST_AREA = 25  # micro-sam drops masks of that many pixels or fewer
SHARED = 0.9  # the most that two masks may have in common, micro-sam's default

Point = tuple[float, float]

Plan = Callable[[np.ndarray], tuple[SeedSettings, list[Point] | None]]
"""From (3, height, width) maps the thresholds, and at which points to ask if not at all that are found."""


@dataclass
class Side:
    """What one side did with an image.

    Attributes:
        maps: (3, height, width) float32, if it made them itself.
        prompts: all points that it derived.
        masks: (height, width) bool of each point that it asked at, before suppression.
        kept: those that are left after it, of more than `LEAST_AREA` pixels.
        objects: what micro-sam's merging makes of them, (height, width) bool each.
        seconds: of the processor, by step.
    """

    maps: np.ndarray | None = None
    prompts: set[Point] = field(default_factory=set)
    masks: dict[Point, np.ndarray] = field(default_factory=dict)
    kept: list[np.ndarray] = field(default_factory=list)
    objects: list[np.ndarray] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, step: str, run: Callable[[], Any]) -> Any:
        """Runs a step and adds its processor time."""
        start = time.process_time()
        result = run()
        self.seconds[step] = self.seconds.get(step, 0.0) + time.process_time() - start
        return result


@contextmanager
def watched(module: ModuleType, name: str, see: Callable[..., Any]) -> Iterator[None]:
    """A block in which `see` is called with a function of a module, and its arguments, in its place."""
    original = getattr(module, name)
    setattr(module, name, partial(see, original))
    try:
        yield
    finally:
        setattr(module, name, original)


def their_side(
    sam: Sam,
    decoder: torch.nn.Module | None,
    maps: np.ndarray | None,
    image: np.ndarray,
    plan: Plan,
    refine: bool,
) -> tuple[Side, SeedSettings, list[Point] | None]:
    """micro-sam's generator, unchanged, as planned from its maps; and the plan."""
    side = Side()
    predictor = SamPredictor(sam)
    embeddings = side.timed(
        "encoder",
        lambda: micro_sam.util.precompute_image_embeddings(predictor, image, ndim=2, verbose=False),
    )
    generator = microsam.AutomaticPromptGenerator(predictor, decoder)
    if maps is None:
        side.timed("maps", lambda: generator.initialize(image, embeddings))
        state = generator.get_state()
        side.maps = maps = np.stack([state[name] for name in _STATE])
    else:
        micro_sam.util.set_precomputed(predictor, embeddings)
        generator.set_state(dict(zip(_STATE, maps, strict=True)))
    seeds, chosen = plan(maps)

    def prompt(**given: Any) -> dict[str, np.ndarray] | None:
        found = side.timed("prompts", lambda: microsam._derive_point_prompts(**given))
        if found is None:
            return None
        side.prompts = _points(found["points"][:, 0])
        points = np.array(chosen or sorted(side.prompts))
        asked.append(points)
        return {"points": points[:, None], "point_labels": np.ones((len(points), 1))}

    def predict(original: Callable, *args: Any, **kwargs: Any) -> list[dict]:
        found = side.timed("masks", lambda: original(*args, **kwargs))
        for point, mask in zip(asked[0].tolist(), found, strict=True):
            side.masks[point[0], point[1]] = mask["segmentation"].numpy()
        return found

    def merge(original: Callable, masks: list[dict], *args: Any, **kwargs: Any) -> np.ndarray:
        side.kept = [mask["segmentation"].numpy() for mask in masks]
        return original(masks, *args, **kwargs)

    def suppress(original: Callable, *args: Any, **kwargs: Any) -> np.ndarray:
        return side.timed("suppression and merging", lambda: original(*args, **kwargs))

    asked: list[np.ndarray] = []
    with (
        watched(microsam, "batched_inference", predict),
        watched(micro_sam.util, "apply_nms", suppress),
        watched(micro_sam.util, "mask_data_to_segmentation", merge),
        # its prompts are for an input of 1024 pixels whatever the model
        watched(micro_sam.inference, "ResizeLongestSide", lambda *_: _resizing(sam)),
    ):
        labels = generator.generate(
            min_size=LEAST_AREA,
            foreground_threshold=seeds.foreground,
            center_distance_threshold=seeds.center_distance,
            boundary_distance_threshold=seeds.boundary_distance,
            batch_size=BATCH,
            nms_threshold=SHARED,
            refine_with_box_prompts=refine,
            prompt_function=prompt,
        )
    side.objects = _objects(labels)
    return side, seeds, chosen


_STATE = ("foreground", "center_distances", "boundary_distances")


def _resizing(sam: Sam) -> ResizeLongestSide:
    return ResizeLongestSide(sam.image_encoder.img_size)


class _Prompts(MapPrompts):
    """Ours, with a clock, from our maps or given ones, and asking at chosen points if there are some."""

    def __init__(
        self,
        report_to: Side,
        decoder: torch.nn.Module | None,
        maps: np.ndarray | None,
        seeds: SeedSettings,
        chosen: list[Point] | None,
        input_size: int,
    ):
        super().__init__(decoder or torch.nn.Identity(), seeds, input_size)
        self._report_to, self._given, self._thresholds = report_to, maps, seeds
        self._chosen = chosen
        if decoder is not None:
            decoder.register_forward_hook(self._see)

    def _see(self, _module: torch.nn.Module, _inputs: Any, maps: torch.Tensor) -> None:
        self._report_to.maps = maps[0].numpy()

    def find(self, *view: Any, **named: Any) -> Prompts:
        find = partial(super().find, *view, **named)
        if self._given is not None:
            find = partial(self._from_given, *view)
        found = self._report_to.timed("maps and prompts", find)
        self._report_to.prompts = _points(found.points)
        return found if self._chosen is None else replace(found, points=np.array(self._chosen))

    def _from_given(self, embedding: torch.Tensor, *_view: Any) -> Prompts:
        assert self._given is not None
        return Prompts(seed_points(self._given, self._thresholds), embedding)


def our_side(
    sam: Sam,
    decoder: torch.nn.Module | None,
    maps: np.ndarray | None,
    rgb: np.ndarray,
    seeds: SeedSettings,
    chosen: list[Point] | None,
    refine: bool,
    precision: str,
) -> Side:
    """Our generator with the settings that docs/models.md gives for micro-sam's."""
    side = Side()
    generator = MaskGenerator(
        sam,
        precision,
        points_per_side=1,
        points_per_batch=BATCH,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
        mask_nms_thresh=SHARED,
        map_prompts=_Prompts(side, decoder, maps, seeds, chosen, sam.image_encoder.img_size),
        refine_with_boxes=refine,
    )
    start = time.perf_counter()
    found = side.timed("all but suppression", lambda: generator.find(rgb))
    # the generator's stages go by the wall clock
    busy = side.seconds["all but suppression"] / (time.perf_counter() - start)
    side.seconds["encoder"] = generator.seconds["encoding"] * busy
    side.seconds["masks"] = side.seconds.pop("all but suppression") - (
        side.seconds["encoder"] + side.seconds["maps and prompts"]
    )
    for number, (x, y) in enumerate(found.points.tolist()):
        region, corner = found.region(number)
        side.masks[x, y] = _in_frame(region, corner, found.size)
    kept = side.timed("suppression", lambda: surviving_masks(found))
    frames = [_in_frame(mask.pixels.region(), mask.pixels.corner, found.size) for mask in kept]
    side.kept = [mask for mask in frames if mask.sum() > LEAST_AREA]
    data = [{"segmentation": mask, "area": int(mask.sum())} for mask in side.kept]
    if data:
        labels = micro_sam.util.mask_data_to_segmentation(data, min_object_size=LEAST_AREA)
        side.objects = _objects(labels)
    return side


def _points(points: np.ndarray) -> set[Point]:
    return {(float(x), float(y)) for x, y in points}


def _in_frame(region: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    frame = np.zeros(size, bool)
    (row, column), (height, width) = corner, region.shape
    frame[row : row + height, column : column + width] = region
    return frame


def _objects(labels: np.ndarray) -> list[np.ndarray]:
    return [labels == number for number in np.unique(labels) if number]


def compare(ours: Side, theirs: Side) -> dict[str, object]:
    """How the masks of two sides differ."""
    values: dict[str, object] = {
        "prompts": {
            "ours": len(ours.prompts),
            "micro-sam": len(theirs.prompts),
            "both": len(ours.prompts & theirs.prompts),
        }
    }
    if ours.maps is not None and theirs.maps is not None and ours.maps.shape == theirs.maps.shape:
        values["largest_difference_of_maps"] = float(np.abs(ours.maps - theirs.maps).max())
    same = ours.masks.keys() & theirs.masks.keys()
    pairs = [(ours.masks[point], theirs.masks[point]) for point in same]
    values["masks_before_suppression"] = {
        "ours": len(ours.masks),
        "micro-sam": len(theirs.masks),
        "same_point": len(pairs),
        "same_pixels": sum(bool(np.array_equal(*pair)) for pair in pairs),
        "iou_at_least_0.99": sum(_iou(*pair) >= 0.99 for pair in pairs),
    }
    for name in ("kept", "objects"):
        our, their = ([_record(m) for m in getattr(side, name)] for side in (ours, theirs))
        values[name] = {
            "ours": len(our),
            "micro-sam": len(their),
            "of_ours_matched_at_0.99": matched(their, our),
            "of_micro-sam_matched_at_0.99": matched(our, their),
        }
    return values


def _iou(one: np.ndarray, two: np.ndarray) -> float:
    union = int(np.count_nonzero(one | two))
    return int(np.count_nonzero(one & two)) / union if union else 1.0


def _record(mask: np.ndarray) -> dict:
    return {"segmentation": coco.encode(np.asfortranarray(mask, np.uint8))}


def maps_of(labels: np.ndarray) -> np.ndarray:
    """Maps as a perfect decoder would draw them: (3, height, width) float32."""
    maps = np.ones((3, *labels.shape), np.float32)
    maps[0] = labels > 0
    for number in np.unique(labels[labels > 0]):
        mask = labels == number
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        rows, columns = np.nonzero(mask)
        far = np.hypot(rows - rows.mean(), columns - columns.mean())
        maps[1, rows, columns] = far / max(far.max(), 1)
        maps[2, rows, columns] = 1 - depth[rows, columns] / depth.max()
    return maps


def demo_images(count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Names, (height, width, 3) uint8 images of the demo and the maps of their labels."""
    found = {path: _read(path) for path in sorted(DEMO.glob("labels/*/*.png"))}
    names = [path for path, labels in found.items() if labels.any()]
    for path in names[:: max(1, len(names) // count)][:count]:
        name = path.relative_to(DEMO / "labels").with_suffix("")
        (image,) = (DEMO / "images").glob(f"{name}.*")
        yield str(name), _read(image, cv2.IMREAD_COLOR_RGB), maps_of(found[path])


def _read(path: Path, how: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    pixels = cv2.imread(str(path), how)
    if pixels is None:
        raise SystemExit(f"{path} cannot be read")
    return pixels


def calm(sam: Sam) -> Sam:
    """Random weights whose masks have blocks of 16 pixels instead of noise; they cost the same.

    Logits are 64 times as large, so that stability scores are not all 0, which would leave the order of
    suppression open.
    """
    with torch.no_grad():
        for layer in sam.mask_decoder.output_upscaling:
            if isinstance(layer, torch.nn.ConvTranspose2d):
                layer.weight.copy_(layer.weight.mean((2, 3), keepdim=True).expand_as(layer.weight))
        for network in sam.mask_decoder.output_hypernetworks_mlps:
            for values in network.layers[-1].parameters():
                values *= 64
        sam.mask_decoder.iou_prediction_head.layers[-1].bias += 0.88
    return sam


def doubled(maps: np.ndarray) -> tuple[SeedSettings, list[Point]]:
    """micro-sam's own thresholds; each prompt and the pixel beside it, for suppression to have work."""
    seeds = settings_of(complete_config({"images": "."})).sam.seeds
    found = _points(seed_points(maps, seeds))
    return seeds, sorted(found | {(x + 1, y) for x, y in found})


def for_noise(maps: np.ndarray, count: int) -> tuple[SeedSettings, list[Point]]:
    """Thresholds between the values of random maps, and some of the points that both sides find there."""
    foreground, center, boundary = maps
    seeds = SeedSettings(
        foreground=float(np.quantile(foreground, 0.3)),
        center_distance=float(np.quantile(center, 0.4)),
        boundary_distance=float(np.quantile(boundary, 0.4)),
        smoothing=0.0,
        min_size=1,
    )
    ours = _points(seed_points(maps, seeds))
    theirs = microsam._derive_point_prompts(
        *maps, seeds.foreground, seeds.center_distance, seeds.boundary_distance
    )
    common = sorted(ours & _points(theirs["points"][:, 0]))
    return seeds, common[:: max(1, len(common) // count)][:count]


def both_sides(
    sam: Sam,
    decoders: tuple[torch.nn.Module | None, torch.nn.Module | None],
    maps: np.ndarray | None,
    image: np.ndarray,
    plan: Plan,
    arguments: argparse.Namespace,
) -> dict[str, object]:
    """Both sides on one image; ours sees it as micro-sam makes it 8-bit."""
    refine, rgb = arguments.refine_with_boxes, micro_sam.util._to_image(image)
    theirs, seeds, chosen = their_side(sam, decoders[0], maps, image, plan, refine)
    ours = {
        kind: our_side(sam, decoders[1], maps, rgb, seeds, chosen, refine, kind)
        for kind in arguments.precisions
    }
    return {
        "size": rgb.shape[:2],
        "seconds": {kind: side.seconds for kind, side in {"micro-sam": theirs, **ours}.items()},
        **{kind: compare(side, theirs) for kind, side in ours.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny", "vit_b"), default="tiny")
    parser.add_argument("--images", type=int, default=6, help="of the demo, with tiny")
    parser.add_argument("--prompts", type=int, default=60, help="with vit_b")
    parser.add_argument("--side", type=int, default=1024, help="of the image in pixels, with vit_b")
    parser.add_argument("--refine-with-boxes", action="store_true")
    parser.add_argument("--precisions", nargs="+", default=["exact", "fast"])
    arguments = parser.parse_args()
    use_one_thread()
    torch.manual_seed(0)
    if arguments.model == "tiny":
        sam = load_model("tiny")
        images = {
            name: both_sides(sam, (None, None), maps, image, doubled, arguments)
            for name, image, maps in demo_images(arguments.images)
        }
    else:
        sam = calm(build_model("vit_b").eval())
        # micro-sam leaves its decoder in training mode, and normalises by the image at hand
        theirs = microsam.DecoderAdapter(microsam.get_unetr(sam.image_encoder, device="cpu"))
        ours = UnetrDecoder().eval()
        ours.load_state_dict(theirs.state_dict())
        image = fluorescence(arguments.side, arguments.side)
        plan = partial(for_noise, count=arguments.prompts)
        images = {"drawn": both_sides(sam, (theirs, ours), None, image, plan, arguments)}
    report(claim="masks equal to micro-sam's", **vars(arguments) | {"images": images})


if __name__ == "__main__":
    main()
