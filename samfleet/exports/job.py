"""The work of the rule `export` and of `samfleet export`: files of one kind, for the images that need them."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import pandas as pd

from samfleet.cells import write_csv
from samfleet.config.settings import Settings
from samfleet.digests import digest_of
from samfleet.exports.anndata import ANNDATA
from samfleet.exports.choice import check_settings, matching
from samfleet.exports.coco import COCO
from samfleet.exports.folder import ExportFolder
from samfleet.exports.geojson import GEOJSON
from samfleet.exports.labels import LABELS
from samfleet.exports.names import export_names
from samfleet.exports.ngff import ZARR
from samfleet.exports.overlays import OVERLAYS
from samfleet.exports.rois import ROIS
from samfleet.exports.source import Kind, Source, Whole
from samfleet.exports.stamp import export_origin, stage_of
from samfleet.images.formats.image import ImageError
from samfleet.images.sources.large import ChangedFile
from samfleet.opened.files import CHANGED, Files
from samfleet.opened.tables import (
    TableImage,
    measurement_columns,
    objects_of_images,
    table_images,
)
from samfleet.results import (
    EXPORT_COLUMNS,
    EXPORTS_VERSION,
    export_folder,
    export_list_file,
    export_record_file,
    summary_file,
)
from samfleet.stamps import recorded
from samfleet.wording import counted, first_lines

logger = logging.getLogger(__name__)

KINDS: dict[str, Kind | Whole] = {
    kind.name: kind for kind in (OVERLAYS, LABELS, COCO, GEOJSON, ROIS, ZARR, ANNDATA)
}


@dataclass
class Exported:
    """What became of the images that an export was asked for.

    Attributes:
        written: number of images whose files were written.
        unchanged: number of images whose files are what they would be.
        removed: number of files removed, since the tables no longer have their images.
        without_result: images that are pending or failed, with the reason.
        outdated: images that are not what was detected, with the reason.
        files: for every exported image the number of its objects and its main file.
    """

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    without_result: dict[str, str] = field(default_factory=dict)
    outdated: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[int, str]] = field(default_factory=dict)


def export(
    settings: Settings,
    results: Path,
    kind: str,
    folder: Path,
    patterns: Iterable[str] = (),
    threads: int = 1,
) -> Exported:
    """Write files of one kind for each image that was detected, also where no object was found.

    Files that are there and would be the same are left alone. Those of images that are no longer what was detected
    are removed; and, unless there are patterns, those of images that the tables no longer have.

    Args:
        settings: the configuration.
        results: the folder of the results.
        kind: one of EXPORT_KINDS.
        folder: where the files are written, under the names of `export_names`.
        patterns: images as the tables name them, or shell patterns of such names; all if there are none.
        threads: how many images are exported at a time.

    Raises:
        UserError: the tables cannot be read or were made under other settings, a pattern fits no image, or the
            folder holds what samfleet did not write there. Nothing is written then.
    """
    check_settings(settings, results)
    patterns = list(patterns)
    images = table_images(results)
    chosen = matching(images, patterns, summary_file(results))
    exported = Exported()
    detected = []
    for image in images:
        if image.name in chosen and image.is_detected:
            detected.append(image)
        elif image.name in chosen:
            exported.without_result[image.name] = f"{image.status}: {image.reason}"
    to = ExportFolder(folder, kind)
    made = KINDS[kind]
    if isinstance(made, Whole):
        names = [made.file]
        if detected or not patterns:
            _write_whole(made, to, results, detected, exported)
    else:
        by_suffix = {
            suffix: export_names([image.name for image in images], suffix) for suffix in made.parts
        }
        names = [name for named in by_suffix.values() for name in named.values()]
        files = Files(settings, results) if made.needs_pixels else None
        measurements = measurement_columns(results) if made.measured else ()
        work = _Work(settings, results, made, measurements, files, to, by_suffix, exported)
        try:
            work.carry_out(detected, threads)
        finally:
            to.finish()
        for image_name in [*exported.without_result, *exported.outdated]:
            for named in by_suffix.values():
                to.remove(named[image_name])
    if not patterns:
        exported.removed = to.keep_only(names)
    to.finish()
    return exported


def export_all(settings: Settings, results: Path, kind: str, threads: int) -> None:
    """Write the files of one kind below results/exports, their list, and the record of what they were made from.

    Raises:
        UserError: as `export`.
    """
    listed, record = export_list_file(results, kind), export_record_file(results, kind)
    origin = export_origin(settings, results, kind)
    with recorded(results, stage_of(kind), record, [listed], origin):
        exported = export(settings, results, kind, export_folder(results, kind), threads=threads)
        rows = [
            (*image.place, image.image_id, *exported.files[image.name])
            for image in table_images(results)
            if image.name in exported.files
        ]
        table = pd.DataFrame(rows, columns=list(EXPORT_COLUMNS))
        write_csv(listed, table, bom=settings.tables.bom)
    for image_name, reason in exported.outdated.items():
        logger.warning("%s: not exported: %s", image_name, reason)
    logger.info(
        "%s: %s written, %d unchanged, %s removed",
        kind,
        counted(exported.written, "image"),
        exported.unchanged,
        counted(exported.removed, "file"),
    )


@dataclass
class _Work:
    """The export of images one by one; the arguments of `export` and what it has made of them."""

    settings: Settings
    results: Path
    kind: Kind
    measurements: tuple[str, ...]
    files: Files | None
    to: ExportFolder
    names: dict[str, dict[str, str]]
    exported: Exported

    def carry_out(self, images: list[TableImage], threads: int) -> None:
        """Export the images whose files are not what they should be."""
        due, origins = [], {}
        columns = (*self.kind.columns, *self.measurements)
        for image, objects in objects_of_images(self.results, images, columns):
            origin = origins[image.name] = self._origin(image, objects.to_pylist())
            main = next(iter(self.names.values()))[image.name]
            self.exported.files[image.name] = (objects.num_rows, main)
            if all(self.to.is_current(names[image.name], origin) for names in self.names.values()):
                self.exported.unchanged += 1
            else:
                due.append(image)
        self.to.check(names[image.name] for image in due for names in self.names.values())
        sources = (
            Source(image, objects.to_pylist(), self.measurements)
            for image, objects in objects_of_images(self.results, due, columns)
        )
        with ThreadPoolExecutor(threads) as pool:
            pending: dict[Future[str], str] = {}
            while True:
                for source in islice(sources, 2 * threads - len(pending)):
                    name = source.image.name
                    pending[pool.submit(self._export_one, source, origins[name])] = name
                if not pending:
                    break
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    name = pending.pop(future)
                    if problem := future.result():
                        self.exported.outdated[name] = problem
                        del self.exported.files[name]
                    else:
                        self.exported.written += 1

    def _export_one(self, source: Source, origin: str) -> str:
        """Write the files of an image; returns why it cannot be exported, or nothing."""
        if self.files:
            read = self.files.read(source.image)
            if isinstance(read, str):
                return read
            source = replace(source, read=read)
        try:
            for suffix, write in self.kind.parts.items():
                name = self.names[suffix][source.image.name]
                with self.to.writing(name, origin, folder=self.kind.makes_folders) as path:
                    write(path, source)
                    if source.read is not None:
                        source.read.windows.check()
        except (ChangedFile, ImageError) as error:
            return CHANGED if isinstance(error, ChangedFile) else error.reason
        return ""

    def _origin(self, image: TableImage, objects: list[dict]) -> str:
        """A digest of everything that the files of an image are made from."""
        pixels: object = None
        if self.files:
            settings = asdict(self.settings.display), asdict(self.settings.image)
            pixels = [*settings, self.files.state(image)]
        return digest_of([EXPORTS_VERSION, self.kind.name, asdict(image), pixels, objects])


def _write_whole(
    kind: Whole, to: ExportFolder, results: Path, images: list[TableImage], exported: Exported
) -> None:
    """Write the one file of all images, unless it is there and would be the same."""
    measurements = measurement_columns(results)

    def sources() -> Iterator[Source]:
        for image, objects in objects_of_images(results, images, (*kind.columns, *measurements)):
            exported.files[image.name] = (objects.num_rows, kind.file)
            yield Source(image, objects.to_pylist())

    digests = [digest_of([asdict(source.image), source.objects]) for source in sources()]
    origin = digest_of([EXPORTS_VERSION, kind.name, digests])
    if to.is_current(kind.file, origin):
        exported.unchanged = len(images)
        return
    to.check([kind.file])
    with to.writing(kind.file, origin) as path:
        kind.write(path, sources(), measurements)
    exported.written = len(images)


def listed_reasons(reasons: dict[str, str]) -> str:
    """Images with the reasons why they are not exported, a line for each of the first ones."""
    return first_lines([f"{image}: {reason}" for image, reason in reasons.items()])
