from pathlib import Path

from samfleet.logs import configure_logging
from samfleet.stamps import not_ahead_of_the_clock
from samfleet.summary.verification import verify_summary

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    not_ahead_of_the_clock(snakemake.input)
    verify_summary(Path(snakemake.input.summary).parent)
