from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.logs import configure_logging
from samfleet.plan.record import read_plan
from samfleet.results import plan_file, store_folder
from samfleet.summary.tables import write_summary

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    results = Path(snakemake.output.summary).parent
    plan = read_plan(plan_file(results))
    settings = settings_of(snakemake.config)
    write_summary(settings, results, store_folder(results, plan.model_key))
