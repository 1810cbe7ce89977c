from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.files import read_stamp
from samfleet.logs import configure_logging
from samfleet.plan.planning import make_plan

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    stamp = read_stamp(snakemake.input.stamp)
    settings = settings_of(snakemake.config)
    results = Path(snakemake.output.plan).parents[1]
    make_plan(settings, results, stamp["model_key"], stamp["gpus"])
