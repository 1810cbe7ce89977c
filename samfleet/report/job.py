"""The work of the rule `report` and of `samfleet report`."""

import csv
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pyarrow.parquet as pq

from samfleet.cells import read_csv
from samfleet.config.settings import FluorescenceSettings, Settings
from samfleet.errors import UserError
from samfleet.exports.choice import check_made_under
from samfleet.files import escape_name, read_object, write_atomic
from samfleet.marker import mark
from samfleet.plan.manifest import digests_of_companions, read_known_files, read_manifest
from samfleet.report import account
from samfleet.report.explorer import (
    explored_candidates,
    filter_specifications,
    other_settings,
    settings_of_filters,
)
from samfleet.report.page import make_page
from samfleet.report.pictures import (
    SUBPIXELS,
    Picture,
    draw_paths,
    make_picture,
    outlines,
    shown_image,
)
from samfleet.report.selection import Row, choose_pictures, choose_sample, name_of, was_detected
from samfleet.report.stamp import report_origin, shown_scores
from samfleet.results import (
    descriptions_file,
    evaluation_total_file,
    filtering_file,
    manifest_file,
    objects_file,
    report_file,
    report_pictures,
    report_record_file,
    store_folder,
    store_settings_file,
    summary_file,
    summary_record_file,
    summary_tables,
)
from samfleet.stamps import read_record, recorded
from samfleet.statuses import Status
from samfleet.store.segments import best_results
from samfleet.summary.candidates import seen_by_dtype
from samfleet.summary.scale import Scale
from samfleet.wording import counted

logger = logging.getLogger(__name__)

_MOST_FAILURES = 200
_MOST_KEPT_PICTURES = 6


def write_report(settings: Settings, results: Path) -> None:
    """Write report.html and a few of its pictures, and the record of what they were made from.

    Args:
        settings: the configuration; filters are those that the tables were made with.
        results: the folder of the results.

    Raises:
        UserError: there are no tables, or they are not as the summary wrote them.
    """
    record = read_record(summary_record_file(results), summary_tables(results))
    if record is None or not record.settings:
        raise UserError(
            f"{results}: there are no tables, or they are not as samfleet wrote them; run the workflow first"
        )
    check_made_under(settings, results, record.settings)
    page = report_file(results)
    origin = report_origin(settings, results)
    with recorded(results, "report", report_record_file(results), [page], origin):
        facts, data, pictures = collect(settings, results, record.settings)
        text = make_page(facts, data, [picture.data for picture in pictures])
        _keep_pictures(results, data, pictures)
        write_atomic(page, text)
    logger.info("%s: %s, %.1f MB", page, counted(len(pictures), "picture"), len(text) / 1e6)


def collect(
    settings: Settings, results: Path, made_under: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], list[Picture]]:
    """What stands in the page, what its scripts need, and its pictures."""
    rows = _read_rows(results)
    key = made_under["model_key"]
    fluorescence = FluorescenceSettings(**made_under["fluorescence"])
    store = store_folder(results, key)
    best = best_results(store)
    seen, _ = seen_by_dtype(store, _known(best, rows))
    scale = Scale(fluorescence, seen)
    shown, sample = choose_pictures(rows), choose_sample(rows)
    detected = [index for index in shown if was_detected(rows[index])]
    wanted = dict.fromkeys([*sample.files, *(rows[index]["image_id"] for index in detected)])
    explored = explored_candidates(store, best, scale, wanted)
    pictures, notes = _pictures(settings, results, rows, detected)
    scales = {rows[i]["image_id"]: _scale_of(rows[i], pictures.get(i)) for i in detected}
    paths = outlines(store, best, scales)
    starts, places = explored.starts(), {index: n for n, index in enumerate(pictures)}
    data = {
        "model_key": key,
        "subpixels": SUBPIXELS,
        "filters": filter_specifications(settings.sam),
        "settings": settings_of_filters(fluorescence),
        "other_settings": other_settings(fluorescence),
        "candidates": {
            "columns": explored.columns,
            "first": explored.first,
            "second": explored.second,
            "shared": explored.shared,
            "counts": list(explored.images.values()),
            "weights": [sample.files.get(identity, 0) for identity in explored.images],
            "sampled": sample.candidates,
            "total": sample.total,
            "exact": sample.exact,
        },
        "gallery": [
            _tile(rows[index], words, places.get(index), pictures.get(index), notes.get(index))
            | {
                "start": starts.get(rows[index]["image_id"], 0),
                "count": explored.images.get(rows[index]["image_id"], 0),
                "outlines": paths.get(rows[index]["image_id"], []),
            }
            for index, words in shown.items()
        ],
        "histograms": account.histograms(_objects(results), rows),
        "plates": account.plates(rows),
        "table": account.image_table(rows),
        "devices": account.devices(results, key),
    }
    return _facts(settings, results, rows, key, data), data, list(pictures.values())


def _known(best: dict[str, tuple[str, str]], rows: list[Row]) -> dict[str, tuple[str, str]]:
    identities = {row["image_id"] for row in rows}
    return {identity: found for identity, found in best.items() if identity in identities}


def _read_rows(results: Path) -> list[Row]:
    path = summary_file(results)
    try:
        return list(read_csv(path))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); run the workflow again") from error


def _objects(results: Path) -> Any:
    return pq.read_table(objects_file(results), columns=list(account.OBJECT_COLUMNS_READ))


def _pictures(
    settings: Settings, results: Path, rows: list[Row], detected: list[int]
) -> tuple[dict[int, Picture], dict[int, str]]:
    """The pictures of images by the index of their rows, and why others have none."""
    pictures, notes = {}, {}
    shown = {_place(rows[index]) for index in detected}
    planned = {
        place: row
        for row in read_manifest(manifest_file(results))
        if (place := (escape_name(row.path), *row.cells)) in shown
    }
    companions = digests_of_companions(read_known_files(descriptions_file(results)))
    for index in detected:
        row = planned.get(_place(rows[index]))
        of_set = companions.get(row.path, "") if row else ""
        image = shown_image(settings, rows[index], row, of_set)
        if isinstance(image, str):
            notes[index] = image
        else:
            side = max(int(rows[index]["width"]), int(rows[index]["height"]))
            pictures[index] = make_picture(image, side, len(detected))
    if notes:
        first = next(iter(notes))
        logger.warning(
            "no picture of %s; the first: %s: %s",
            *(counted(len(notes), "image"), name_of(rows[first]), notes[first]),
        )
    return pictures, notes


def _place(row: Row) -> tuple[str, str, str, str]:
    """Which image of which file a row is."""
    return row["image"], row["scene"], row["time"], row["slice"]


def _scale_of(row: Row, picture: Picture | None) -> float:
    longest = max(int(row["width"]), int(row["height"]))
    return picture.scale if picture else min(1.0, 1024 / longest)


def _tile(
    row: Row, words: list[str], place: int | None, picture: Picture | None, note: str | None
) -> dict[str, Any]:
    """What the gallery says of an image."""
    size = {}
    if was_detected(row):
        scale = _scale_of(row, picture)
        size = {
            "width": picture.width if picture else round(int(row["width"]) * scale),
            "height": picture.height if picture else round(int(row["height"]) * scale),
        }
    return {
        "image": name_of(row),
        "image_id": row["image_id"],
        "status": row["status"],
        "reason": row["reason"],
        "warning": row["warning"],
        "note": note,
        "why": words,
        "picture": place,
        "pixels": [int(row["width"]), int(row["height"])] if row["width"] else None,
        **size,
    }


def _facts(
    settings: Settings, results: Path, rows: list[Row], key: str, data: dict[str, Any]
) -> dict[str, Any]:
    """What stands in the page itself."""
    explained = read_object(store_settings_file(store_folder(results, key)))
    whole = asdict(settings)
    failures = [row for row in rows if not was_detected(row)]
    ledger = data["devices"]
    return {
        "rows": rows,
        "title": Path(settings.images).name or settings.images,
        "source": settings.images,
        "folder": str(results),
        "counts": account.counts(rows),
        "filtering": read_csv(filtering_file(results)),
        "failures": [{**row, "image": name_of(row)} for row in failures[:_MOST_FAILURES]],
        "n_failures": len(failures),
        "devices": ledger,
        "rate": sum(device["rate"] or 0 for device in ledger) or None,
        "model": explained.get("model", settings.sam.model),
        "weights": explained.get("weights", ""),
        "model_key": key,
        "parameters": {
            "sam": _flat(whole["sam"]),
            "display": _flat(whole["display"]),
            "fluorescence": data["other_settings"] | data["settings"],
            "image": _flat(whole["image"]),
        },
        "scores": _scores(settings, results),
        "versions": account.versions(),
        "has_plates": bool(data["plates"]),
        "exact": data["candidates"]["exact"],
        "sampled": data["candidates"]["sampled"],
        "table_rows": len(data["table"]["rows"]),
        "gallery_tiles": len(data["gallery"]),
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return {name: value for name, value in flat.items() if value not in (None, "")}


def _scores(settings: Settings, results: Path) -> dict[str, float]:
    """The scores over all images, if there are any."""
    if shown_scores(settings, results) is None:
        return {}
    (row,) = pd.read_csv(evaluation_total_file(results)).to_dict("records")
    return {str(name): value for name, value in row.items() if value == value}


def _keep_pictures(results: Path, data: Mapping[str, Any], pictures: list[Picture]) -> None:
    """Write a few pictures with the outlines of objects as files."""
    folder = report_pictures(results)
    shutil.rmtree(folder, ignore_errors=True)
    mark(folder, "pictures of the report")
    kept = set(_kept_candidates(results))
    shown = [tile for tile in data["gallery"] if tile["picture"] is not None]
    shown.sort(key=lambda tile: tile["status"] != Status.OK)
    for number, tile in enumerate(shown[:_MOST_KEPT_PICTURES], start=1):
        paths = [
            path
            for candidate, path in enumerate(tile["outlines"])
            if (tile["image_id"], candidate) in kept
        ]
        drawn = draw_paths(pictures[tile["picture"]], paths)
        jpeg = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        write_atomic(folder / f"{number}.jpg", jpeg.tobytes())


def _kept_candidates(results: Path) -> Iterator[tuple[str, int]]:
    objects = pq.read_table(objects_file(results), columns=["image_id", "candidate"])
    return zip(objects["image_id"].to_pylist(), objects["candidate"].to_pylist(), strict=True)
