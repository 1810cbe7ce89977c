"""Why no image of a run has an object, as far as the counts show it."""

from collections.abc import Iterator, Mapping

from samfleet.config.settings import Settings
from samfleet.summary.scale import Scale, number


def why_all_are_empty(
    settings: Settings, candidates: int, dropped: Mapping[str, int], scale: Scale
) -> str:
    """What is likely at fault where no candidate became an object, in words.

    Args:
        settings: the configuration.
        candidates: number of candidates.
        dropped: how many of them each filter dropped.
        scale: the scale of the summary.
    """
    dark = [name for name, seen in sorted(scale.seen.items()) if not seen.brightness.maximum > 0]
    if len(dark) == len(scale.seen):
        return "no pixel of any image is above 0"
    if not candidates:
        return (
            "the model found no mask in any of them. Look at sam.checkpoint (are these trained weights of "
            f"{settings.sam.model}?), at sam.pred_iou_thresh ({settings.sam.pred_iou_thresh:g}) and "
            f"sam.stability_score_thresh ({settings.sam.stability_score_thresh:g}), and at display, which "
            "is how images are shown to the model"
        )
    hints = dict(_hints(settings, scale))
    worst = sorted((name for name in dropped if dropped[name]), key=lambda name: -dropped[name])
    lines = [f"{name} dropped {dropped[name]}: {hints[name]}" for name in worst]
    return (
        f"of {candidates} candidates\n  " + "\n  ".join(lines) + "\n"
        "If none of this is it, look at sam.checkpoint: weights that do not fit find masks at random"
    )


def _hints(settings: Settings, scale: Scale) -> Iterator[tuple[str, str]]:
    """For every filter, what it may mean that it dropped candidates."""
    filters = settings.fluorescence
    yield (
        "min_predicted_iou",
        f"the model is less sure of its masks than {filters.min_predicted_iou}",
    )
    yield "min_stability_score", f"masks are less stable than {filters.min_stability_score}"
    yield "min_area", f"the objects may have fewer than {filters.min_area} pixels"
    yield "max_area", f"the objects, or the background, have more than {filters.max_area} pixels"
    brightest = "depends on fluorescence.white: " + ", ".join(
        f"{number(white)} counts as 255 in {dtype} images, whose brightest pixel is "
        f"{scale.seen[dtype].brightness.maximum * 255 / white:.3g} on that scale"
        for dtype, white in scale.whites().items()
    )
    yield (
        "min_mean_intensity",
        f"they are darker than {filters.min_mean_intensity:g}, which {brightest}",
    )
    yield (
        "min_contrast",
        f"they are not {filters.min_contrast} brighter than the background, which {brightest}",
    )
    yield "min_circularity", f"they are less round than {filters.min_circularity}"
    yield "min_solidity", f"they fill less than {filters.min_solidity} of their convex hull"
    yield "exclude_edge", "they touch the edge of their image, as what fills the whole image does"
