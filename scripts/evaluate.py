from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.evaluation.job import evaluate_tables
from samfleet.logs import configure_logging
from samfleet.stamps import not_ahead_of_the_clock

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    not_ahead_of_the_clock(snakemake.input)
    results = Path(snakemake.output.images).parent
    evaluate_tables(settings_of(snakemake.config), results)
