from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.logs import configure_logging
from samfleet.report.job import write_report
from samfleet.stamps import not_ahead_of_the_clock

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    not_ahead_of_the_clock(snakemake.input)
    write_report(settings_of(snakemake.config), Path(snakemake.output.page).parent)
