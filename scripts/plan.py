from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.logs import configure_logging
from samfleet.plan.planning import make_plan
from samfleet.sam.model_key import configured_model_key
from samfleet.stamps import not_ahead_of_the_clock, stamp_number

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    not_ahead_of_the_clock(snakemake.input)
    settings = settings_of(snakemake.config)
    results = Path(snakemake.output.plan).parents[1]
    make_plan(
        settings,
        results,
        configured_model_key(settings, results),
        gpus=int(Path(snakemake.input.stamp).read_text()),
        stamp=stamp_number(snakemake.input.stamp),
    )
