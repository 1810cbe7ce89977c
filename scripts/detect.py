import sys
from pathlib import Path

from samfleet.detection.job import detect_shard
from samfleet.detection.stopping import Stopped
from samfleet.logs import configure_logging, kept_if_it_fails
from samfleet.plan.collection import collection_root
from samfleet.plan.record import plan_of_shard
from samfleet.results import store_folder

if __name__ == "__main__":
    # workers would import it as their main module, and a script from an address is no file
    del __file__
    configure_logging(snakemake.log[0])
    results = Path(snakemake.output.done).parents[2]
    shard = Path(snakemake.input.shard)
    try:
        with kept_if_it_fails(snakemake.log[0]):
            detect_shard(
                snakemake.config,
                results,
                root=collection_root(snakemake.config["images"]),
                shard_list=shard,
                done=Path(snakemake.output.done),
                store=store_folder(results, plan_of_shard(shard).model_key),
                threads=snakemake.threads,
            )
    except Stopped as stopped:
        sys.exit(128 + stopped.number)
