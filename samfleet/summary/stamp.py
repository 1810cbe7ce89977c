"""The summary's stamp; standard library only: the Snakefile imports this."""

from dataclasses import asdict
from pathlib import Path

from samfleet.config.settings import FluorescenceSettings
from samfleet.digests import digest_of
from samfleet.files import write_stamp
from samfleet.plan.collection import Collection
from samfleet.results import TABLES_VERSION, plan_file, summary_stamp_file


def refresh_summary_stamp(
    fluorescence: FluorescenceSettings, results: Path, collection: Collection
) -> None:
    """Rewrite the summary's stamp if its filters, its columns or the plan's content changed."""
    content = {
        "version": TABLES_VERSION,
        "plan": digest_of(plan_file(results).read_text()),
        "fluorescence": asdict(fluorescence),
        "columns": collection.columns_digest(),
    }
    write_stamp(summary_stamp_file(results), content)
