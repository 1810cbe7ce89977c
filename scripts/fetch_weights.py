from samfleet.fetching import fetch_weights
from samfleet.files import write_atomic
from samfleet.logs import configure_logging
from samfleet.plan.model_key import configured_weights

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    path = fetch_weights(snakemake.config["sam"]["model"], configured_weights(snakemake.config))
    write_atomic(snakemake.output.weights, f"{path}\n")
