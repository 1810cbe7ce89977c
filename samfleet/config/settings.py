"""The configuration as typed values, one frozen class for each of its sections.

`schema.complete_config` checks what the user wrote; `settings_of` turns its result into these classes.
A test checks that names, types and order are the schema's. Standard library only.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from samfleet.planes import Selection

NEUTRAL = {"neutral": True}
"""Marks a setting that cannot change a stored candidate and is therefore not in the model key."""


GPU_PRECISIONS = ("tf32", "bf16")
"""The values of `sam.precision` that no CPU can compute."""


def in_micrometres(diameter: object) -> float | None:
    """How many µm a value of `sam.object_diameter` such as "12 um" is; None if it is in pixels, or `auto`."""
    if not isinstance(diameter, str) or diameter == "auto":
        return None
    return float(diameter.strip().removesuffix("m")[:-1])


def introduced_with(value: object) -> dict[str, object]:
    """Marks a setting that is younger than stored results, which were made as if it had this value.

    The setting is in the model key only if it has another value, so that those results stay valid.
    """
    return {"introduced_with": value}


@dataclass(frozen=True)
class ImageSettings:
    """The section `image`: which files are images and what is read of them."""

    suffixes: tuple[str, ...] = field(metadata=NEUTRAL)
    scenes: int | str | tuple[int | str, ...] = field(metadata=NEUTRAL)
    times: int | str | tuple[int, ...] = field(metadata=NEUTRAL)
    slices: str | int | tuple[int, ...] = field(metadata=NEUTRAL)
    level: int = field(metadata=introduced_with(0))
    channel_pattern: str = field(metadata=NEUTRAL)
    pixel_size_um: float | None = field(metadata=NEUTRAL)
    lookup_table: str = field(metadata=introduced_with("auto"))
    max_pixels: int = field(metadata=NEUTRAL)
    timeout_seconds: float = field(metadata=NEUTRAL)

    @property
    def selection(self) -> Selection:
        """Which images of a file are wanted."""
        return Selection(self.scenes, self.times, self.slices)


@dataclass(frozen=True)
class DisplaySettings:
    """The section `display`: how an image is shown to SAM."""

    channel: int | str
    colormap: str
    percentiles: tuple[float, float]


@dataclass(frozen=True)
class SeedSettings:
    """The section `sam.seeds`: where a decoder's maps show an object that gets a prompt."""

    foreground: float
    center_distance: float
    boundary_distance: float
    smoothing: float
    min_size: int
    prominence: float | None = None


_MICRO_SAM_SEEDS = SeedSettings(0.5, 0.5, 0.5, 0.0, 1)


@dataclass(frozen=True)
class SamSettings:
    """The section `sam`: the model and the parameters of its automatic mask generation."""

    model: str
    checkpoint: str = field(metadata=NEUTRAL)
    cache_folder: str = field(metadata=NEUTRAL)
    precision: str
    points_per_side: int
    points_per_batch: int | None = field(metadata=NEUTRAL)
    compile: bool = field(metadata=NEUTRAL)
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    box_nms_thresh: float
    crop_n_layers: int
    crop_nms_thresh: float
    crop_overlap_ratio: float
    crop_n_points_downscale_factor: int
    min_mask_region_area: int
    mask_nms_thresh: float | None = field(metadata=introduced_with(None))
    mask_nms_of: str = field(metadata=introduced_with("union"))
    skip_background: bool
    tile_size: int | None = field(metadata=introduced_with(None))
    tile_overlap: int | None = field(metadata=introduced_with(None))
    tile_whole_image: bool = field(metadata=introduced_with(True))
    object_diameter: float | str | None = field(metadata=introduced_with(None))
    prompts: str = field(metadata=introduced_with("grid"))
    decoder: str = field(metadata=NEUTRAL)
    decoder_statistics: str = field(metadata=introduced_with("image"))
    seeds: SeedSettings = field(metadata=introduced_with(_MICRO_SAM_SEEDS))
    refine_with_boxes: bool = field(metadata=introduced_with(False))
    refine_with_maps: bool = field(metadata=introduced_with(False))


@dataclass(frozen=True)
class FluorescenceSettings:
    """The section `fluorescence`: what is measured and which candidates are objects."""

    channel: int | str = field(metadata=NEUTRAL)
    white: float | None = field(metadata=NEUTRAL)
    largest_part: bool
    min_predicted_iou: float | None = field(metadata=NEUTRAL)
    min_stability_score: float | None = field(metadata=NEUTRAL)
    min_area: int = field(metadata=NEUTRAL)
    max_area: int = field(metadata=NEUTRAL)
    min_mean_intensity: float = field(metadata=NEUTRAL)
    min_contrast: float | None = field(metadata=NEUTRAL)
    min_circularity: float | None = field(metadata=NEUTRAL)
    min_solidity: float | None = field(metadata=NEUTRAL)
    exclude_edge: bool = field(metadata=NEUTRAL)
    max_overlap: float = field(metadata=NEUTRAL)


@dataclass(frozen=True)
class EvaluationSettings:
    """The section `evaluation`: scores against label images and marks."""

    labels: str
    sparse: bool
    marks: str


@dataclass(frozen=True)
class TablesSettings:
    """The section `tables`: how the CSV tables are written."""

    bom: bool
    objects_csv: bool


@dataclass(frozen=True)
class ShardSettings:
    """The section `shard`: how the work is cut and carried out."""

    min_seconds: float | None
    max_hours: float
    threads: int
    mem_mb: int
    flush_seconds: float


@dataclass(frozen=True)
class Settings:
    """The whole configuration."""

    images: str
    image: ImageSettings
    display: DisplaySettings
    sam: SamSettings
    fluorescence: FluorescenceSettings
    evaluation: EvaluationSettings
    tables: TablesSettings
    exports: tuple[str, ...]
    report: bool
    device: str
    devices: tuple[str, ...]
    shard: ShardSettings
    on_error: str
    retry_failed: bool
    rehash: bool


def settings_of(config: Mapping[str, Any]) -> Settings:
    """The settings of a completed configuration.

    Args:
        config: as `schema.complete_config` returns it.
    """
    return _typed(Settings, config)


def _typed(kind: Any, values: Mapping[str, Any]) -> Any:
    kinds = get_type_hints(kind)
    return kind(**{name: _value(kinds[name], value) for name, value in values.items()})


def _value(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return _typed(kind, value)
    return tuple(value) if isinstance(value, list) else value


def key_settings(section: Any) -> dict[str, object]:
    """The settings of a section that are part of the model key, by name.

    Args:
        section: one of the classes of this module.
    """
    values = {
        entry.name: getattr(section, entry.name)
        for entry in dataclasses.fields(section)
        if not entry.metadata.get("neutral")
        and entry.metadata.get("introduced_with", dataclasses.MISSING)
        != getattr(section, entry.name)
    }
    return {
        name: key_settings(value) if dataclasses.is_dataclass(value) else value
        for name, value in values.items()
    }
