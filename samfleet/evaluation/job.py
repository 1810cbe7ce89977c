"""The work of the rule `evaluate`: the scores, and the record of what they were made from."""

from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.evaluation.evaluation import write_evaluation
from samfleet.evaluation.stamp import evaluation_origin
from samfleet.results import evaluation_record_file, evaluation_tables
from samfleet.stamps import recorded


def evaluate_tables(settings: Settings, results: Path) -> None:
    """Score the tables of the summary and record what the scores were made from.

    Raises:
        UserError: the labels cannot be used.
    """
    path, tables = evaluation_record_file(results), evaluation_tables(results)
    origin = evaluation_origin(settings.evaluation, results)
    with recorded(results, "evaluation", path, tables, origin):
        write_evaluation(settings, results)
