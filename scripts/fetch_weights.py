from samfleet.files import write_atomic
from samfleet.logs import configure_logging
from samfleet.sam.fetching import fetch_weights
from samfleet.sam.weights import configured_weights

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    path = fetch_weights(snakemake.config["sam"]["model"], configured_weights(snakemake.config))
    write_atomic(snakemake.output.weights, f"{path}\n")
