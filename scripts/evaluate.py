from pathlib import Path

from samfleet.evaluation.evaluation import write_evaluation
from samfleet.evaluation.stamp import labels_folder
from samfleet.logs import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    settings = snakemake.config["evaluation"]
    labels = labels_folder(settings["labels"])
    write_evaluation(Path(snakemake.output.images).parent, labels, settings["sparse"])
