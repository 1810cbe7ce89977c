"""The work of the rule `evaluate`: the scores, and the record of what they were made from."""

from pathlib import Path

from samfleet.config.settings import Settings
from samfleet.evaluation.evaluation import write_evaluation
from samfleet.evaluation.stamp import evaluation_origin
from samfleet.results import evaluation_record_file, evaluation_tables
from samfleet.stamps import latest_stamp, remove_older_stamps, write_record


def evaluate_tables(settings: Settings, results: Path) -> None:
    """Score the tables of the summary and record what the scores were made from.

    Raises:
        UserError: the labels cannot be used.
    """
    record, stamp = evaluation_record_file(results), latest_stamp(results, "evaluation")
    record.unlink(missing_ok=True)
    origin = evaluation_origin(settings.evaluation, results)
    write_evaluation(settings, results)
    write_record(record, origin, stamp, evaluation_tables(results))
    remove_older_stamps(results, "evaluation", stamp)
