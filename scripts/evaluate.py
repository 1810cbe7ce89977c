from pathlib import Path

from samfleet.evaluation import write_evaluation
from samfleet.logs import configure_logging
from samfleet.plan.manifest import labels_folder

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    settings = snakemake.config["evaluation"]
    labels = labels_folder(settings["labels"])
    write_evaluation(Path(snakemake.output.images).parent, labels, settings["sparse"])
