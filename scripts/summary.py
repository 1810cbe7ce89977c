from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.logs import configure_logging
from samfleet.plan.record import present_plan
from samfleet.results import plan_file
from samfleet.stamps import not_ahead_of_the_clock
from samfleet.summary.job import summarize_plan

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    not_ahead_of_the_clock(snakemake.input)
    results = Path(snakemake.output.summary).parent
    summarize_plan(settings_of(snakemake.config), results, present_plan(plan_file(results)))
