"""results/run.json: what the tables were made from and with, enough to write a methods section."""

import datetime
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samfleet.channels import COLORS
from samfleet.config.settings import Settings
from samfleet.files import read_object, write_atomic
from samfleet.plan.commands import noted_commands
from samfleet.plan.record import Plan
from samfleet.planes import PROJECTIONS
from samfleet.results import (
    TABLES_VERSION,
    done_file,
    run_file,
    store_folder,
    store_settings_file,
)
from samfleet.summary.tables import Counts
from samfleet.versions import installed_versions


def write_provenance(
    settings: Settings, results: Path, plan: Plan, counts: Counts, whites: dict[str, float]
) -> None:
    """Write run.json.

    Args:
        settings: the configuration.
        results: the folder of the results.
        plan: the plan whose tables were written.
        counts: what they hold.
        whites: the pixel value that counts as 255, for each type of pixels.
    """
    model = read_object(store_settings_file(store_folder(results, plan.model_key)))
    record = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": installed_versions() | {"tables": str(TABLES_VERSION)},
        "commands": noted_commands(results),
        "model": {"key": plan.model_key, **model},
        "detection": _detection(results, plan),
        "configuration": asdict(settings),
        "white": whites,
        "counts": {
            "images": dict(counts.statuses),
            "projections": {
                kind: number for kind in PROJECTIONS if (number := counts.projections[kind])
            },
            "candidates": counts.candidates,
            "dropped": {name: int(number) for name, number in counts.dropped.items()},
            "objects": counts.objects,
        },
    }
    write_atomic(run_file(results), json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _detection(results: Path, plan: Plan) -> dict[str, Any]:
    """Where and with which versions images were detected; as known before, if the last plan had nothing to do."""
    done = [read_object(done_file(results, plan.id, shard.name)) for shard in plan.shards]
    done = [record for record in done if record.get("device") is not None]
    before = read_object(run_file(results))
    known: dict[str, Any] = {}
    if (before.get("model") or {}).get("key") == plan.model_key:
        known = before.get("detection") or {}
    if not done:
        return known
    devices = {_device(record) for record in done} | set(known.get("devices", ()))
    return {
        "devices": sorted(devices),
        "versions": done[-1].get("versions", {}),
        "seconds": round(sum(record.get("seconds", 0) for record in done), 1),
    }


def _device(record: dict[str, Any]) -> str:
    return f"{record.get('host')} {record.get('device') or 'cpu'}"


def methods(record: dict[str, Any]) -> str:
    """A paragraph for a methods section.

    Args:
        record: the content of run.json.

    Raises:
        KeyError: it is not complete.
    """
    return " ".join(_sentences(record))


def _sentences(record: dict[str, Any]) -> Iterator[str]:
    config, model, counts = record["configuration"], record["model"], record["counts"]
    versions = record["versions"] | record["detection"].get("versions", {})
    sam, filters = config["sam"], config["fluorescence"]
    images = sum(counts["images"].values())
    detected = counts["images"].get("ok", 0) + counts["images"].get("empty", 0)
    released = f" {versions['samfleet']}" if "samfleet" in versions else ""
    yield (
        f"Images were segmented with samfleet{released}, which runs the automatic mask generation of Segment Anything "
        f"(Kirillov et al., ICCV 2023; model {sam['model']}, weights with SHA-256 {str(model['weights'])[:12]}…, "
        f"precision {sam['precision']})."
    )
    if projections := counts.get("projections"):
        kinds = {"max": "maximum", "mean": "mean", "sharpest": "sharpest slice"}
        yield f"Stacks of Z were projected to their {_listed([kinds[kind] for kind in projections])}."
    dropped = (
        f"masks with a predicted IoU below {sam['pred_iou_thresh']:g} or a stability score below "
        f"{sam['stability_score_thresh']:g} were dropped"
    )
    yield f"SAM was given {_prompts(sam)}{_tiles(sam)}; {_clauses([dropped, *_suppression(sam)])}."
    cleaned = []
    if sam["prompts"] != "grid" and sam["refine_with_maps"]:
        yield (
            "The predicted IoU of a mask was the mean of what SAM gave and of the mask's IoU with the objects that a "
            "watershed of the decoder's maps showed. Of masks that these maps showed to be of one object the best was kept, "
            "and outlines were corrected by a watershed from the prompts of what was kept."
        )
    if sam["min_mask_region_area"]:
        area = f"{sam['min_mask_region_area']:,}"
        cleaned.append(f"holes and islands of fewer than {area} pixels were removed from masks")
    if filters["largest_part"]:
        cleaned.append("of a mask in several pieces the largest was kept")
    if cleaned:
        words = _clauses(cleaned)
        yield f"{words[0].upper()}{words[1:]}."
    yield f"Masks were kept as objects if they had {_listed(list(_conditions(filters)))}."
    yield (
        f"Of two objects that shared more than {filters['max_overlap']:.0%} of the smaller one, that with the higher "
        "predicted IoU was kept."
    )
    yield (
        f"Fluorescence was measured on {_measured(filters['channel'])} of the pixels as stored in the files; the "
        "background of an image is the median of its pixels outside all masks, and the corrected total cell fluorescence "
        "of an object is its integrated intensity less its area times the background (Burgess et al., PNAS 2010)."
    )
    if record["white"]:
        whites = _listed([f"{value:g} ({kind})" for kind, value in sorted(record["white"].items())])
        yield f"Intensities are given on a scale on which 255 stands for {whites}, and in units of the files."
    lost = "" if detected == images else f" ({images - detected} could not be analysed)"
    yield (
        f"{_counted(images, 'image')}{lost} gave {_counted(counts['candidates'], 'mask')}, of which "
        f"{counts['objects']:,} {'was an object' if counts['objects'] == 1 else 'were objects'}."
    )
    named = [
        f"{title} {versions[name]}"
        for name, title in (
            ("python", "Python"),
            ("torch", "PyTorch"),
            ("numpy", "NumPy"),
            ("tifffile", "tifffile"),
            ("snakemake", "Snakemake"),
        )
        if name in versions
    ]
    yield f"Software: {', '.join(named)}."


def _prompts(sam: dict[str, Any]) -> str:
    crops = (
        f" and {_counted(sam['crop_n_layers'], 'layer')} of crops" if sam["crop_n_layers"] else ""
    )
    if sam["prompts"] != "grid":
        again = " and, once more, the box of each mask" if sam["refine_with_boxes"] else ""
        return (
            "one prompt for each object that a decoder of distance maps saw (Archit & Pape, MIDL 2026)"
            f"{crops and f' in the image{crops}'}{again}"
        )
    background = ", less those on background alone" if sam["skip_background"] else ""
    return (
        f"a grid of {sam['points_per_side']} × {sam['points_per_side']} prompts{crops}{background}"
    )


def _suppression(sam: dict[str, Any]) -> Iterator[str]:
    if sam["box_nms_thresh"] < 1:
        iou = f"{sam['box_nms_thresh']:g}"
        yield f"of masks whose boxes overlapped with an IoU above {iou} the better was kept"
    if sam["mask_nms_thresh"] is not None:
        of = "the smaller one" if sam["mask_nms_of"] == "smaller" else "all their pixels"
        yield f"of masks that shared more than {sam['mask_nms_thresh']:.0%} of {of} the better was kept"


def _tiles(sam: dict[str, Any]) -> str:
    if sam["tile_size"]:
        return f", in tiles of {sam['tile_size']} pixels"
    if sam["object_diameter"] == "auto":
        return ", in tiles chosen by the size of the objects found"
    if isinstance(sam["object_diameter"], str):
        return f", in tiles that suit objects of {sam['object_diameter']}"
    if sam["object_diameter"]:
        return f", in tiles that suit objects of {sam['object_diameter']:g} pixels"
    return ""


def _conditions(filters: dict[str, Any]) -> Iterator[str]:
    yield f"an area of {filters['min_area']:,} to {filters['max_area']:,} pixels"
    yield f"a mean intensity of at least {filters['min_mean_intensity']:g} on the scale of 0 to 255"
    for name, words in (
        ("min_contrast", "a mean intensity of at least {:g} above the background of the image"),
        ("min_predicted_iou", "a predicted IoU of at least {:g}"),
        ("min_stability_score", "a stability score of at least {:g}"),
        ("min_circularity", "a circularity of at least {:g}"),
        ("min_solidity", "a solidity of at least {:g}"),
    ):
        if filters[name] is not None:
            yield words.format(filters[name])
    if filters["exclude_edge"]:
        yield "no pixel at the edge of the image"


def _measured(channel: object) -> str:
    if channel == "max":
        return "the maximum of the channels"
    return f"the {channel}" if channel in ("luminance", *COLORS) else f"channel {channel}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _clauses(clauses: list[str]) -> str:
    return ", and ".join(filter(None, [", ".join(clauses[:-1]), clauses[-1]]))


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
