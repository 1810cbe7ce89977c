import sys
from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.detection.job import detect_shard
from samfleet.detection.stopping import Stopped
from samfleet.detection.walltime import job_end
from samfleet.logs import configure_logging, kept_if_it_fails
from samfleet.plan.mistakes import noted_mistakes
from samfleet.stamps import not_ahead_of_the_clock

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    not_ahead_of_the_clock(snakemake.input)
    done = Path(snakemake.output.done)
    results = done.parents[2]
    try:
        with kept_if_it_fails(snakemake.log[0]), noted_mistakes(results, done.parent.name):
            detect_shard(
                settings_of(snakemake.config),
                results,
                shard_list=Path(snakemake.input.shard),
                done=done,
                threads=snakemake.threads,
                ends=job_end(snakemake.resources.runtime),
            )
    except Stopped as stopped:
        sys.exit(128 + stopped.number)
