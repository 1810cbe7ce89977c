from samfleet.config.settings import settings_of
from samfleet.files import write_atomic
from samfleet.logs import configure_logging
from samfleet.sam.fetching import fetch_weights
from samfleet.sam.weights import configured_weights

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    sam = settings_of(snakemake.config).sam
    path = fetch_weights(sam.model, configured_weights(sam))
    write_atomic(snakemake.output.weights, f"{path}\n")
