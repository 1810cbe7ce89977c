from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.evaluation.marks import evaluate_marks
from samfleet.logs import configure_logging
from samfleet.stamps import not_ahead_of_the_clock

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    not_ahead_of_the_clock(snakemake.input)
    evaluate_marks(settings_of(snakemake.config), Path(snakemake.output.marks).parent)
