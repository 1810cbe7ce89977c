"""The folder of results: the path of every file and the columns of every table.

Standard library only.
"""

from pathlib import Path

TABLES_VERSION = 3
"""Raise this when a change of the code changes the summary's tables; a golden table notices it."""

EVALUATION_VERSION = 2
"""Raise this when a change of the code changes the scores of an evaluation."""

EXPORTS_VERSION = 2
"""Raise this when a change of the code changes the files of an export."""

EXPORT_KINDS = ("overlays", "labels", "coco", "geojson", "rois", "zarr", "anndata")
"""What `exports` and `samfleet export` know."""

REPORT_VERSION = 1
"""Raise this when a change of the code changes the report."""

MANIFEST_COLUMNS = (
    "path",
    "image_id",
    "bytes",
    "mtime_ns",
    "problem",
    "scene",
    "time",
    "slice",
    "channels",
    "asked",
)
"""Columns of manifest.tsv; `image_id` is empty where `problem` says why. `channels` names joined files, `asked` has what
a table says that selects the image."""

FILE_COLUMNS = ("path", "digest", "bytes", "mtime_ns", "description", "channels")
"""Columns of descriptions.tsv, what is known of files that hold several images, and of the journal of hashes."""

SUMMARY_COLUMNS = (
    "image",
    "scene",
    "scene_name",
    "time",
    "slice",
    "image_id",
    "status",
    "reason",
    "warning",
    "width",
    "height",
    "n_invalid_pixels",
    "pixel_size_um",
    "acquired",
    "focus_score",
    "saturated_fraction",
    "zero_fraction",
    "n_candidates",
    "n_objects",
    "object_area",
    "object_area_um2",
    "area_fraction",
    "intensity_mean",
    "integrated_intensity",
    "background",
    "white",
)
"""Columns of summary.csv, in order; the user's own columns follow."""

OBJECT_COLUMNS = {
    "image": "string",
    "scene": "int32",
    "scene_name": "string",
    "time": "int32",
    "slice": "string",
    "image_id": "string",
    "label": "int32",
    "candidate": "int32",
    "width": "int32",
    "height": "int32",
    "pixel_size_um": "float64",
    "bbox_x": "int32",
    "bbox_y": "int32",
    "bbox_width": "int32",
    "bbox_height": "int32",
    "centroid_x": "float64",
    "centroid_y": "float64",
    "area": "int64",
    "n_invalid_pixels": "int64",
    "n_parts": "int32",
    "perimeter_crofton": "float64",
    "circularity": "float64",
    "solidity": "float64",
    "extent": "float64",
    "major_axis_length": "float64",
    "minor_axis_length": "float64",
    "eccentricity": "float64",
    "orientation": "float64",
    "feret_diameter_max": "float64",
    "touches_edge": "bool",
    "area_um2": "float64",
    "perimeter_um": "float64",
    "major_axis_length_um": "float64",
    "minor_axis_length_um": "float64",
    "feret_diameter_max_um": "float64",
    "intensity_mean": "float64",
    "intensity_max": "float64",
    "intensity_std": "float64",
    "integrated_intensity": "float64",
    "background": "float64",
    "ctcf": "float64",
    "raw_intensity_mean": "float64",
    "raw_intensity_max": "float64",
    "raw_intensity_std": "float64",
    "raw_integrated_intensity": "float64",
    "raw_background": "float64",
    "raw_ctcf": "float64",
    "predicted_iou": "float64",
    "stability_score": "float64",
    "rle": "string",
}
"""Columns of objects.parquet and their types.

Those of the channels (`channel_columns` of samfleet/summary/channels.py) and those of the user follow.
Intensities are on the scale of 0 to 255; those that begin with `raw_` are in the units of the pixels.
`label` counts from 1 in each image; `rle` is the `counts` of a COCO run-length encoding of
(height, width).
"""

FILTERING_COLUMNS = ("filter", "count")
"""Columns of filtering.csv."""

LEDGER_COLUMNS = (
    "when",
    "image_id",
    "scene",
    "time",
    "slice",
    "model_key",
    "plan",
    "shard",
    "status",
    "host",
    "device",
    "points_per_batch",
    "tile_size",
    "tiles",
    "tiles_left_out",
    "objects_cut",
    "seconds_reading",
    "seconds_encoding",
    "seconds_decoding",
    "seconds_postprocessing",
    "seconds_measuring",
    "seconds_waiting",
)
"""Columns of ledger.csv.

`when` is UTC in ISO 8601. Encoding, decoding and post-processing follow each other in the process
that drives the device; at the same time, worker processes read images and measure masks (small
regions, run-length encoding, fluorescence). `seconds_waiting` is how long the device's process waited
for this image to be read, or to be measured when the queue for that was full. With tiles, `tile_size` is
that of the last look, `tiles` and `tiles_left_out` (nothing but background) count all looks, and
`objects_cut` is about how many objects every tile cuts and the whole image does not show.
"""

EVALUATION_COLUMNS = (
    "image",
    "image_id",
    "problem",
    "n_labelled",
    "n_objects",
    "tp_50",
    "fp_50",
    "fn_50",
    "tp_75",
    "fp_75",
    "fn_75",
    "precision_50",
    "recall_50",
    "f1_50",
    "precision_75",
    "recall_75",
    "f1_75",
    "average_precision",
    "mean_best_iou",
)
"""Columns of evaluation.csv."""

EXPORT_COLUMNS = ("image", "scene", "time", "slice", "image_id", "n_objects", "file")
"""Columns of the list of an export's files; `file` is relative to the export's folder."""

EVALUATION_TOTAL_COLUMNS = (
    "n_images",
    "n_evaluated",
    *EVALUATION_COLUMNS[3:],
    "mean_average_precision",
)
"""Columns of evaluation_total.csv."""


MARKS_COLUMNS = (
    "n_right",
    "n_wrong",
    "right_kept",
    "wrong_kept",
    "precision",
    "recall",
    "f1",
    "n_unknown",
)
"""Columns of evaluation_marks.csv."""

COMMAND_COLUMNS = ("when", "command", "samfleet")
"""Columns of commands.tsv."""


def manifest_file(results: str | Path) -> Path:
    """The table of the collection's files."""
    return Path(results) / "manifest.tsv"


def summary_file(results: str | Path) -> Path:
    """The table of images."""
    return Path(results) / "summary.csv"


def objects_file(results: str | Path) -> Path:
    """The table of objects."""
    return Path(results) / "objects.parquet"


def objects_csv_file(results: str | Path) -> Path:
    """The table of objects without masks, as a compressed CSV."""
    return Path(results) / "objects.csv.gz"


def filtering_file(results: str | Path) -> Path:
    """The table of filters."""
    return Path(results) / "filtering.csv"


def ledger_file(results: str | Path) -> Path:
    """The table of detections."""
    return Path(results) / "ledger.csv"


def evaluation_file(results: str | Path) -> Path:
    """The scores of every image."""
    return Path(results) / "evaluation.csv"


def evaluation_total_file(results: str | Path) -> Path:
    """The scores over all images."""
    return Path(results) / "evaluation_total.csv"


def export_folder(results: str | Path, kind: str) -> Path:
    """The folder of the files of an export that the workflow makes."""
    return Path(results) / "exports" / kind


def export_list_file(results: str | Path, kind: str) -> Path:
    """The list of the files of an export."""
    return Path(results) / "exports" / f"{kind}.csv"


def export_record_file(results: str | Path, kind: str) -> Path:
    """The record of what the files of an export were made from."""
    return Path(results) / "plan" / f"export-{kind}.json"


def report_file(results: str | Path) -> Path:
    """The report, a page that needs no other file."""
    return Path(results) / "report.html"


def report_pictures(results: str | Path) -> Path:
    """The folder of a few pictures of the report, for `snakemake --report`."""
    return Path(results) / "report"


def marks_table_file(results: str | Path) -> Path:
    """The scores against marks."""
    return Path(results) / "evaluation_marks.csv"


def marks_record_file(results: str | Path) -> Path:
    """The record of what the scores against marks were made from."""
    return Path(results) / "plan" / "marks.json"


def plan_file(results: str | Path) -> Path:
    """The declared output of the rule `plan`."""
    return Path(results) / "plan" / "plan.json"


def last_plan_file(results: str | Path) -> Path:
    """A copy of plan.json that survives when Snakemake deletes it before the rule runs."""
    return Path(results) / "plan" / "last.json"


def kept_plan_file(results: str | Path, plan_id: str) -> Path:
    """A copy of the plan in the folder of its shard lists, for the jobs that carry it out."""
    return Path(results) / "plan" / plan_id / "plan.json"


def shard_file(results: str | Path, plan_id: str, shard: str) -> Path:
    """The list of a shard's images."""
    return Path(results) / "plan" / plan_id / f"{shard}.tsv"


def done_file(results: str | Path, plan_id: str, shard: str) -> Path:
    """The record of a shard that has been carried out."""
    return Path(results) / "plan" / plan_id / f"{shard}.done"


def chunks_folder(results: str | Path, plan_id: str) -> Path:
    """The folder of the chunks of a plan: a table of them, and the claims of jobs."""
    return Path(results) / "plan" / plan_id / "chunks"


def chunks_file(results: str | Path, plan_id: str) -> Path:
    """The table of the chunks of a plan's shards."""
    return chunks_folder(results, plan_id) / "chunks.tsv"


def superseded_file(results: str | Path, plan_id: str) -> Path:
    """There if another plan was made after this one, so that its jobs draw nothing more."""
    return Path(results) / "plan" / plan_id / "superseded"


def beats_folder(results: str | Path, plan_id: str) -> Path:
    """The folder of the heartbeats of a plan's jobs."""
    return Path(results) / "plan" / plan_id / "beats"


def beat_file(results: str | Path, plan_id: str, shard: str) -> Path:
    """The heartbeat of the job of a shard."""
    return beats_folder(results, plan_id) / f"{shard}.json"


def store_root(results: str | Path) -> Path:
    """The folder of all segments, one folder for each model key."""
    return Path(results) / "store"


def store_folder(results: str | Path, model_key: str) -> Path:
    """The folder of the segments of one model key."""
    return store_root(results) / model_key


def unfinished_folder(store: str | Path) -> Path:
    """The folder of what was found so far in images that are not finished, a folder for each."""
    return Path(store) / "unfinished"


def stamp_file(results: str | Path, stage: str, number: int) -> Path:
    """A stamp of a stage: its newest one was there when the stage last ran."""
    return Path(results) / "plan" / f"{stage}.{number}.stamp"


def summary_record_file(results: str | Path) -> Path:
    """The record of what the tables of the summary were made from."""
    return Path(results) / "plan" / "summary.json"


def summary_lock_file(results: str | Path) -> Path:
    """The file that whoever writes the tables of the summary has locked."""
    return Path(results) / "plan" / "summary.lock"


def evaluation_record_file(results: str | Path) -> Path:
    """The record of what the tables of the evaluation were made from."""
    return Path(results) / "plan" / "evaluation.json"


def report_record_file(results: str | Path) -> Path:
    """The record of what the report was made from."""
    return Path(results) / "plan" / "report.json"


def verification_record_file(results: str | Path) -> Path:
    """The record of what the word that no image failed was made from."""
    return Path(results) / "plan" / "verification.json"


def verified_file(results: str | Path) -> Path:
    """The word that no image failed, with `on_error: fail`."""
    return Path(results) / "logs" / "verified.txt"


def run_file(results: str | Path) -> Path:
    """What the tables of the summary were made from and with."""
    return Path(results) / "run.json"


def commands_file(results: str | Path) -> Path:
    """The commands that changed the results."""
    return Path(results) / "logs" / "commands.tsv"


def summary_tables(results: str | Path) -> tuple[Path, ...]:
    """All tables of the summary."""
    return tuple(
        table(results) for table in (summary_file, objects_file, filtering_file, ledger_file)
    )


def evaluation_tables(results: str | Path) -> tuple[Path, ...]:
    """All tables of the evaluation."""
    return evaluation_file(results), evaluation_total_file(results)


def scale_file(results: str | Path) -> Path:
    """White of every type of pixels in the last summary."""
    return Path(results) / "plan" / "scale.json"


def descriptions_file(results: str | Path) -> Path:
    """What is known of the collection's files that hold several images."""
    return Path(results) / "plan" / "descriptions.tsv"


def hash_journal_file(results: str | Path, collection: str) -> Path:
    """The hashes that a plan of a collection has computed so far, in case it is interrupted."""
    return Path(results) / "plan" / f"hashes-{collection}.tsv"


def weights_digest_file(results: str | Path) -> Path:
    """Digests of weights files, so that each file is read only once."""
    return Path(results) / "plan" / "weights.json"


def plan_config_file(results: str | Path, plan_id: str) -> Path:
    """The completed configuration that a plan was made under."""
    return Path(results) / "plan" / plan_id / "config.json"


def failed_devices_folder(results: str | Path, plan_id: str, host: str) -> Path:
    """The folder with an empty file for each device of a host that failed in the plan."""
    return Path(results) / "plan" / plan_id / "failed_devices" / host


def mistake_file(results: str | Path, plan_id: str) -> Path:
    """Why no job of a plan can succeed; there only if a job found out."""
    return Path(results) / "plan" / plan_id / "mistake.txt"


def store_settings_file(store: str | Path) -> Path:
    """The file that says what the model key of a store's folder stands for."""
    return Path(store) / "settings.json"
