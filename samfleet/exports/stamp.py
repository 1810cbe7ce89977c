"""What the files of an export depend on. Standard library only, since the Snakefile imports this."""

from dataclasses import asdict
from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.digests import digest_of
from samfleet.exports.origins import Origins
from samfleet.files import read_object
from samfleet.results import (
    EXPORTS_VERSION,
    export_folder,
    export_list_file,
    export_record_file,
    summary_record_file,
)
from samfleet.stamps import latest_stamp, needed_stamp


def stage_of(kind: str) -> str:
    """The name of the stage that writes an export."""
    return f"export-{kind}"


def export_origin(settings: Settings, results: Path, kind: str) -> str:
    """A digest of everything that an export is made from."""
    # if a table is not as the record says, it is written again, and this is asked again
    tables = read_object(summary_record_file(results)).get("tables")
    return digest_of(
        {
            "version": EXPORTS_VERSION,
            "kind": kind,
            "tables": tables,
            "images": settings.images,
            "display": asdict(settings.display),
            "bom": settings.tables.bom,
        }
    )


def export_stamp(settings: Settings, results: Path, kind: str) -> int:
    """The number of the stamp that an export needs: the one that it has, or the next one."""
    if Origins(export_folder(results, kind)).missing():
        return latest_stamp(results, stage_of(kind)) + 1
    origin = export_origin(settings, results, kind)
    path, listed = export_record_file(results, kind), export_list_file(results, kind)
    return needed_stamp(results, stage_of(kind), path, [listed], origin)
