"""Write a commented configuration that fits what a survey has found."""

import math
import os
from collections import Counter
from collections.abc import Iterator

import yaml

from samfleet.config.schema import complete_config
from samfleet.config.settings import settings_of
from samfleet.devices.visible import visible_devices
from samfleet.sam.tiles import ENOUGH_DIAMETER, INPUT_SIZE
from samfleet.survey.sample import Survey
from samfleet.wording import counted

_MEGAPIXEL = 2**20
"""The size of image that the schema's default areas are meant for."""

_NAMED_AT_MOST = 5


def suggest(images: str, survey: Survey) -> str:
    """A configuration in YAML, with comments that say what was seen.

    Args:
        images: the folder or table that was surveyed.
        survey: what is known about it.
    """
    sections = [
        *(f"# {line}" for line in _findings(survey)),
        *(f"# WARNING: {line}" for line in warnings(survey)),
        "",
        f"images: {_quoted(images)}",
        *_image(survey),
        "",
        *_model(survey),
        "",
        *_filters(survey),
    ]
    text = "\n".join(sections) + "\n"
    complete_config(yaml.safe_load(text))  # what is written must be valid
    return text


def warnings(survey: Survey) -> Iterator[str]:
    """What users should check before they run anything, in words."""
    unreadable = [look for look in survey.looks if look.problem]
    for look in unreadable[:_NAMED_AT_MOST]:
        yield f"{look.path} cannot be read: {look.problem}"
    if len(unreadable) > _NAMED_AT_MOST:
        yield f"{len(unreadable) - _NAMED_AT_MOST} more of the files looked at cannot be read"
    for warning, number in survey.kinds(lambda look: look.warning).items():
        if warning:
            yield f"{counted(number, 'file')} of those looked at: {warning}"
    for what, counts in (
        ("pixels' types", survey.kinds(lambda look: look.dtype)),
        ("channels", survey.kinds(lambda look: look.colors)),
        ("planes", survey.kinds(lambda look: "several planes" if look.holds else "one plane")),
    ):
        if len(counts) > 1:
            yield f"files differ in their {what}: {_listed(counts)}; settings may not suit all of them"


def _findings(survey: Survey) -> Iterator[str]:
    yield "Written by `samfleet init`. What is left out keeps its default: config/README.md."
    yield f"Image files: {survey.suffixes.total()}, {_listed(survey.suffixes)}."
    if survey.ignored:
        yield f"Other files, left out by image.suffixes: {_listed(survey.ignored)}."
    yield f"Looked at: {len(survey.looks)}, of which {len(survey.readable)} can be read."
    if survey.readable:
        sizes = survey.kinds(lambda look: f"{look.width} x {look.height}")
        yield f"  size in pixels: {_listed(sizes)}"
        yield f"  type of pixels: {_listed(survey.kinds(lambda look: look.dtype))}"
        yield f"  channels: {_listed(survey.kinds(lambda look: look.colors))}"


def _listed(counts: Counter) -> str:
    """Kinds with their numbers, the most frequent first."""
    named = [f"{kind} ({number})" for kind, number in counts.most_common(_NAMED_AT_MOST)]
    more = len(counts) - _NAMED_AT_MOST
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _quoted(images: str) -> str:
    """An absolute path as YAML; a relative one would depend on where the workflow is run."""
    path = images if images == "demo" else os.path.abspath(os.path.expanduser(images))
    return yaml.safe_dump(path, default_style='"', allow_unicode=True, width=math.inf).strip()


def _image(survey: Survey) -> Iterator[str]:
    if holds := next((look.holds for look in survey.readable if look.holds), ""):
        yield "image:"
        yield f"  # There are files with several planes, the first of {holds}. All scenes and times are images;"
        yield "  # slices of Z become one image: max, mean, sharpest, or all for an image each."
        yield "  slices: max"
    channels = max((look.channels for look in survey.readable if not look.is_color), default=1)
    if channels > 1:
        yield "display:"
        yield f"  channel: max # what SAM is shown: 0 to {channels - 1}, or max for the brightest of all"


def _model(survey: Survey) -> Iterator[str]:
    yield "sam:"
    if visible_devices():
        model = "vit_h"
        yield "  model: vit_h # its weights are fetched once, 2.6 GB; vit_l and vit_b are faster"
    else:
        model = "vit_b"
        yield "  model: vit_b # no GPU is visible here; vit_l and vit_h find more and take longer"
    yield from _tiles(survey, model)


def _tiles(survey: Survey, model: str) -> Iterator[str]:
    input_size = INPUT_SIZE[model]
    longest = max((max(look.width, look.height) for look in survey.readable), default=0)
    if longest > input_size:
        yield f"  # SAM scales an image to {input_size} pixels, and these have up to {longest}: tiles keep small"
        yield "  # objects apart, and take longer. You may give the objects' usual width in pixels instead"
        yield "  object_diameter: auto"
    else:
        least = max(1, round(ENOUGH_DIAMETER[model] * longest / input_size))
        yield f"  # object_diameter: auto # tiles, if objects are less than {least} pixels wide; takes longer"


def _filters(survey: Survey) -> Iterator[str]:
    defaults = settings_of(complete_config({"images": "x"})).fluorescence
    pixels = survey.typical_pixels() or _MEGAPIXEL
    scale = min(1.0, pixels / _MEGAPIXEL)
    yield "fluorescence: # changing this takes seconds, and nothing is detected again"
    yield from _white(survey, defaults.min_mean_intensity)
    for key, default in (("min_area", defaults.min_area), ("max_area", defaults.max_area)):
        area = max(1, round(default * scale))
        across = round(2 * math.sqrt(area / math.pi))
        share = f"{100 * area / pixels:.2g} % of an image of {pixels} pixels"
        yield f"  {key}: {area} # pixels: a disc {across} across, {share}"


def _white(survey: Survey, min_mean_intensity: float) -> Iterator[str]:
    types = survey.kinds(lambda look: look.dtype)
    if len(types) > 1:
        yield f"  # white is left to the summary, which chooses it for each type: {_listed(types)}"
    white = survey.white()
    if white is None:
        return
    (dtype,) = types
    if dtype not in ("uint8", "int8"):  # their white never changes
        written = str(int(white)) if white < 2**53 else repr(white)
        yield f"  # the value of {dtype} that counts as 255. The brightest pixel seen is"
        yield f"  # {survey.brightness().maximum:g}; if your camera has a larger largest value, set that"
        yield f"  white: {written}"
    background = survey.background() * 255 / white
    if background > min_mean_intensity:
        yield f"  # The background alone is at about {background:.2g} of 255, so min_mean_intensity drops"
        yield "  # nothing. To drop what is hardly brighter than it:"
        yield f"  # min_contrast: {min_mean_intensity:g}"
