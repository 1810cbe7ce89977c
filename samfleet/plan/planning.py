"""The work of the rule `plan`: find the pending images and pack them into shards."""

import contextlib
import itertools
import json
import logging
import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from samfleet.config.settings import Settings, in_micrometres
from samfleet.digests import digest_of, digest_of_lines
from samfleet.files import TableError, escape_name, remove_leftovers, write_atomic
from samfleet.images.formats.image import ImageError
from samfleet.images.sources.source import describe
from samfleet.images.units import square_side
from samfleet.marker import mark
from samfleet.plan.collection import Collection, collection_root, scan_collection
from samfleet.plan.cost import START_SECONDS, expected_cost
from samfleet.plan.dimensions import dimensions
from samfleet.plan.holding import Holding, describe_content
from samfleet.plan.manifest import (
    KnownFile,
    ManifestRow,
    digests_of_companions,
    has_its_companions,
    identify,
    known_files_digest,
    manifest_digest,
    read_known_files,
    read_manifest,
    write_known_files,
    write_manifest,
)
from samfleet.plan.outlook import division
from samfleet.plan.record import Plan, PlannedShard, any_has_manifest, is_complete, read_plan
from samfleet.plan.shards import (
    Chunk,
    ShardImage,
    cut_chunks,
    pack_shards,
    write_chunks,
    write_shard,
)
from samfleet.planes import Selection
from samfleet.results import (
    chunks_file,
    descriptions_file,
    done_file,
    hash_journal_file,
    kept_plan_file,
    last_plan_file,
    manifest_file,
    plan_config_file,
    plan_file,
    shard_file,
    store_folder,
    superseded_file,
)
from samfleet.sam.tiles import PixelSizeError, configured_tiles
from samfleet.stamps import remove_older_stamps
from samfleet.statuses import Status
from samfleet.store.index import StoredImage, read_stored_images
from samfleet.store.segments import rebuild_index
from samfleet.store.unfinished import remove_needless
from samfleet.wording import counted

logger = logging.getLogger(__name__)

_ABANDONED_SECONDS = 30 * 86400
_LEFTOVER_SECONDS = 86400
_DESCRIBED_AT_MOST = 20  # files that are asked how large their pixels are


def make_plan(settings: Settings, results: Path, model_key: str, gpus: int, stamp: int = 0) -> Plan:
    """Scan, hash, subtract what is stored, pack the rest, and write manifest and plan.

    If nothing is pending and all paths and contents are those of the last plan, that plan keeps its id,
    and nothing downstream needs to run.

    Args:
        settings: the configuration.
        results: the folder of the results.
        model_key: the key under which results are looked up and stored.
        gpus: number of GPUs to pack for.
        stamp: number of the stamp that the plan is made for.
    """
    image = settings.image
    collection = scan_collection(settings.images, image.suffixes, results, image.channel_pattern)
    mark(results, "results")
    folder = store_folder(results, model_key)
    rebuild_index(folder)
    stored = read_stored_images(folder)
    last = read_plan(last_plan_file(results))
    files = _identify(settings, results, last, collection, stored)
    holding = Holding()
    rows: list[ManifestRow] = []
    selection = image.selection
    described: list[KnownFile] = []  # files whose digest the manifest does not tell
    for file in files:
        of_file = holding.images_of(file, collection, selection)
        rows += of_file
        if file.description or (file.digest and of_file[0].image_id != file.digest):
            described.append(file)
    complete = last is not None and is_complete(results, last)
    # an interrupted plan may not have reached the images that were too large before it
    retry_large = last is not None and (not complete or last.max_pixels < settings.image.max_pixels)
    companions = digests_of_companions(described)
    pending = [
        replace(image, companions=companions[image.path]) if image.path in companions else image
        for image in _pending(rows, stored, settings.retry_failed, retry_large)
    ]
    content = digest_of_lines(map(_content, rows))
    present: dict[str, Any] = {
        "stamp": stamp,
        "source": settings.images,
        "files": collection.fingerprint(),
        "manifest": manifest_digest(rows),
        "descriptions": known_files_digest(described),
        "selection": image.selection.digest,
        "model_key": model_key,
        "content": content,
    }
    if (
        last
        and complete
        and not pending
        and not retry_large
        and (last.source, last.content, last.model_key) == (settings.images, content, model_key)
    ):
        plan = replace(last, **present)
    else:
        plan = _new_plan(settings, results, gpus, rows, pending, present)
    # the copy comes before the manifest, so that whatever happens in between, a plan knows the manifest
    write_atomic(kept_plan_file(results, plan.id), plan.to_json())
    write_manifest(manifest_file(results), rows)
    write_known_files(descriptions_file(results), described)
    write_atomic(last_plan_file(results), plan.to_json())
    write_atomic(plan_file(results), plan.to_json())
    _journal(settings, results).unlink(missing_ok=True)
    remove_older_stamps(results, "plan", stamp)
    _remove_old_plans(results, plan)
    remove_leftovers(folder, _LEFTOVER_SECONDS)
    remove_needless(folder, stored, _ABANDONED_SECONDS)
    _report(collection, rows, pending, holding, image.selection)
    return plan


def _content(row: ManifestRow) -> str:
    which = "\t".join(map(escape_name, ("", *row.cells))) if any(row.cells) else ""
    return f"{escape_name(row.path)}\t{row.image_id}\t{row.problem}{which}\n"


def _journal(settings: Settings, results: Path) -> Path:
    """The journal of new hashes. One for each collection: the same path may mean another file."""
    return hash_journal_file(results, digest_of(settings.images)[:8])


def _identify(
    settings: Settings,
    results: Path,
    last: Plan | None,
    collection: Collection,
    stored: dict[str, StoredImage],
) -> list[KnownFile]:
    known = {}
    journal = _journal(settings, results)
    if settings.rehash:
        journal.unlink(missing_ok=True)
    else:
        rows = _known_rows(settings, results, last)
        # if a file's content once differed from what its stat promised, hash it again
        changed = {name for name, image in stored.items() if image.status == Status.CHANGED}
        doubtful = {row.path for row in rows if row.image_id in changed}
        for file in [*_known_files(rows), *_described(results, rows), *_journal_files(journal)]:
            is_doubtful = file.path in doubtful or file.digest in changed
            if file.digest and not is_doubtful and has_its_companions(collection.root, file):
                known[file.path, file.size, file.mtime_ns, file.channels] = file
    return identify(collection, known, journal, describe_content)


def _known_rows(settings: Settings, results: Path, last: Plan | None) -> list[ManifestRow]:
    """The last manifest, if it is of the same collection and as a plan knows it."""
    kept = (read_plan(path) for path in (results / "plan").glob("*/plan.json"))
    plans = [plan for plan in (last, *kept) if plan and plan.source == settings.images]
    if not any_has_manifest(results, plans):
        return []
    return list(read_manifest(manifest_file(results)))


def _known_files(rows: list[ManifestRow]) -> Iterator[KnownFile]:
    """The files in a manifest that hold one image, whose id is their digest."""
    for row in rows:
        if row.image_id and not any(row.cells):
            yield KnownFile(row.path, row.image_id, row.size, row.mtime_ns, channels=row.channels)


def _described(results: Path, rows: list[ManifestRow]) -> list[KnownFile]:
    """The files that hold several images, if the manifest is known; a damaged table is set aside."""
    return _files_in(descriptions_file(results), "described") if rows else []


def _journal_files(journal: Path) -> list[KnownFile]:
    """The files of an interrupted plan; a journal that is damaged is set aside."""
    return _files_in(journal, "hashed", journal=True)


def _files_in(table: Path, done: str, journal: bool = False) -> list[KnownFile]:
    try:
        return list(read_known_files(table, journal=journal))
    except TableError as error:
        logger.warning("%s; set aside: its images will be %s again", error.reason, done)
        os.replace(table, table.with_name(f"{table.name}.damaged"))
        return []


def _pending(
    rows: list[ManifestRow],
    stored: dict[str, StoredImage],
    retry_failed: bool,
    retry_large: bool,
) -> Iterator[ShardImage]:
    """One image for each content that has no result yet, in the order of the paths."""
    seen = set()
    sharing = Counter(row.path for row in rows if row.image_id and any(row.cells))
    for row in rows:
        if not row.image_id or row.image_id in seen:
            continue
        seen.add(row.image_id)
        image = stored.get(row.image_id)
        again = retry_large and image is not None and image.status == Status.TOO_LARGE
        if image is None or again or image.is_pending(retry_failed):
            yield ShardImage(
                row.image_id,
                row.size,
                row.path,
                plane=row.plane,
                mtime_ns=row.mtime_ns,
                channels=row.channels,
                sharing=sharing.get(row.path, 1),
            )


def _new_plan(
    settings: Settings,
    results: Path,
    gpus: int,
    rows: list[ManifestRow],
    pending: list[ShardImage],
    present: dict[str, Any],
) -> Plan:
    plan_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    model = settings.sam.model
    count = tile_counter(settings, [image.path for image in pending])
    cost = expected_cost(results, model, present["model_key"], rows, count)
    pending = [
        image if (tiles := count(image.path)) == image.tiles else replace(image, tiles=tiles)
        for image in pending
    ]
    shortest = settings.shard.min_seconds
    if shortest is None:
        shortest = START_SECONDS[model]
    # a job asks for at most `max_hours`, and costs may turn out twice as high
    longest = settings.shard.max_hours * 3600 / 2
    packed = pack_shards(pending, gpus, cost, shortest, longest)
    planned: list[PlannedShard] = []
    chunks: list[Chunk] = []
    for number, images in enumerate(packed, start=1):
        name = f"{number:04d}"
        write_shard(shard_file(results, plan_id, name), images)
        seconds = [cost.seconds(image.share, image.tiles) for image in images]
        chunks += cut_chunks(name, seconds, len(packed), gpus)
        planned.append(PlannedShard(name, len(images), round(sum(seconds), 1)))
    if planned:
        write_chunks(chunks_file(results, plan_id), chunks)
    configuration = json.dumps(asdict(settings), indent=1)
    write_atomic(plan_config_file(results, plan_id), configuration + "\n")
    plan = Plan(
        id=plan_id,
        max_pixels=settings.image.max_pixels,
        images=len(rows),
        pending=len(pending),
        shards=tuple(planned),
        **present,
    )
    if planned:
        logger.info(
            "%s to detect are cut into %s, to be drawn %s",
            counted(len(pending), "image"),
            counted(len(chunks), "chunk"),
            division(plan, gpus),
        )
    return plan


def tile_counter(settings: Settings, paths: Iterable[str]) -> Callable[[str], int]:
    """Tells how many tiles the image in a file has, by its header; 1 where that is not known.

    Args:
        settings: the configuration.
        paths: of the files. If objects are measured in µm, some of them tell how large pixels usually are.
    """
    root = collection_root(settings.images)
    try:
        tiles = configured_tiles(settings.sam, _usual_pixel_size(settings, root, paths))
    except PixelSizeError:
        tiles = None

    def count(path: str) -> int:
        size = dimensions(root / path) if tiles else None
        return len(tiles.lay(size).boxes) if tiles and size and min(size) > 0 else 1

    return count


def _usual_pixel_size(settings: Settings, root: Path, paths: Iterable[str]) -> float | None:
    """The side of a pixel in µm that the first file states, if tiles depend on it."""
    if settings.image.pixel_size_um or in_micrometres(settings.sam.object_diameter) is None:
        return settings.image.pixel_size_um
    for path in itertools.islice(paths, _DESCRIBED_AT_MOST):
        with contextlib.suppress(ImageError, OSError, MemoryError):
            scenes = describe(root / path, settings.image.level).scenes
            if size := square_side(next((scene.pixel_size_um for scene in scenes), None)):
                return size
    return None


def _remove_old_plans(results: Path, current: Plan) -> None:
    """Remove shard lists that no job needs any more: carried out, or abandoned for 30 days.

    Jobs of the others that are still at work are told to draw no more, since the current plan has what is left.
    """
    for folder in (results / "plan").iterdir():
        if not folder.is_dir() or folder.name == current.id:
            continue
        shards = [path.stem for path in folder.glob("*.tsv")]
        carried_out = all(done_file(results, folder.name, shard).exists() for shard in shards)
        if carried_out or time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(folder)
        elif not (superseded := superseded_file(results, folder.name)).exists():
            superseded.touch()


def _report(
    collection: Collection,
    rows: list[ManifestRow],
    pending: list[ShardImage],
    holding: Holding,
    selection: Selection,
) -> None:
    if collection.ignored:
        counts = ", ".join(f"{n} {suffix}" for suffix, n in collection.ignored.most_common())
        other = counted(collection.ignored.total(), "other file")
        logger.info("ignored %s: %s", other, counts)
    if collection.own:
        logger.info(
            "not searched, since samfleet made it: %s",
            escape_name(", ".join(sorted(collection.own))),
        )
    if passed_over := collection.passed_over():
        logger.warning("%s", passed_over)
    for path, problem in dict.fromkeys((row.path, row.problem) for row in rows if row.problem):
        logger.warning("%s %s", escape_name(path), problem)
    holding.report(selection)
    logger.info("%s, %d to detect", counted(len(rows), "image"), len(pending))
