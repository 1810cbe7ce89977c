from pathlib import Path

from samfleet.config.settings import settings_of
from samfleet.evaluation.evaluation import write_evaluation
from samfleet.logs import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    results = Path(snakemake.output.images).parent
    write_evaluation(settings_of(snakemake.config).evaluation, results)
