import sys
from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.detection.job import detect_shard
from samfleet.detection.stopping import Stopped
from samfleet.logs import configure_logging, kept_if_it_fails

if __name__ == "__main__":
    # workers would import it as their main module, and a script from an address is no file
    del __file__
    configure_logging(snakemake.log[0])
    done = Path(snakemake.output.done)
    try:
        with kept_if_it_fails(snakemake.log[0]):
            detect_shard(
                settings_of(snakemake.config),
                done.parents[2],
                shard_list=Path(snakemake.input.shard),
                done=done,
                threads=snakemake.threads,
            )
    except Stopped as stopped:
        sys.exit(128 + stopped.number)
