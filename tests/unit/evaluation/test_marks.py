"""Scores against marks."""

import json

import pytest

from samfleet.cells import read_csv
from samfleet.errors import UserError
from samfleet.evaluation.marks import Marks, evaluate_marks, read_marks, score_marks
from samfleet.evaluation.stamp import marks_file, marks_stamp
from samfleet.results import marks_table_file
from tests.reported import Collection


def mark(identity: str, candidate: int, right: bool) -> dict:
    return {"image": "a.png", "image_id": identity, "candidate": candidate, "right": right}


def saved(folder, *marks: dict, key: str = "K", **other):
    """A file of marks."""
    path = folder / "marks.json"
    path.write_text(json.dumps({"samfleet_marks": 1, "model_key": key, "marks": marks} | other))
    return path


def test_precision_and_recall_are_those_of_the_marked_candidates():
    right = {("A", 0): True, ("A", 1): True, ("A", 2): True, ("B", 0): False, ("B", 1): False}
    marks = Marks("K", right | {("gone", 0): True})
    kept = [("A", 0), ("A", 1), ("B", 0), ("B", 7), ("C", 0)]
    row = score_marks(marks, kept, ["A", "B", "C"])
    assert row == {
        "n_right": 3,
        "n_wrong": 2,
        "right_kept": 2,
        "wrong_kept": 1,
        "precision": 2 / 3,
        "recall": 2 / 3,
        "f1": 2 / 3,
        "n_unknown": 1,
    }


def test_a_share_of_nothing_is_none():
    row = score_marks(Marks("K", {("A", 0): False}), [], ["A"])
    assert (row["precision"], row["recall"], row["f1"]) == (None, None, None)


def test_of_two_marks_the_later_one_counts(tmp_path):
    path = saved(tmp_path, mark("A", 0, True), mark("A", 0, False))
    assert read_marks(path) == Marks("K", {("A", 0): False})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"samfleet_marks": 2, "model_key": "K", "marks": []}',
        '{"samfleet_marks": 1, "model_key": "K"}',
        '{"samfleet_marks": 1, "model_key": "K", "marks": [{"image_id": "A", "candidate": "0", "right": true}]}',
        '{"samfleet_marks": 1, "model_key": "K", "marks": [{"image_id": "A", "candidate": true, "right": true}]}',
        '{"samfleet_marks": 1, "model_key": "K", "marks": [{"image_id": "A", "candidate": 0, "right": "yes"}]}',
        '{"samfleet_marks": 1, "model_key": "K", "marks": [1]}',
        "\x00",
    ],
)
def test_what_no_report_has_saved_is_refused_by_name(tmp_path, content):
    path = tmp_path / "marks.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"evaluation\.marks: .*marks\.json is not a file of marks"):
        read_marks(path)


def test_a_file_that_is_missing_is_named():
    with pytest.raises(UserError, match=r"evaluation\.marks: there is no file none\.json"):
        marks_file("none.json")


@pytest.fixture
def collection(tmp_path):
    collection = Collection(tmp_path)
    collection.add("a.png", (30, 40, 12, 200), (60, 90, 9, 40))
    return collection


def scored(collection: Collection, settings) -> dict[str, str]:
    evaluate_marks(settings, collection.results)
    (row,) = read_csv(marks_table_file(collection.results))
    return row


def test_a_run_is_scored_against_the_marks_of_its_report(collection, tmp_path):
    collection.summarize()
    (key,) = [folder.name for folder in (collection.results / "store").iterdir()]
    (image,) = read_csv(collection.results / "summary.csv")
    path = saved(
        tmp_path, mark(image["image_id"], 0, True), mark(image["image_id"], 1, False), key=key
    )
    asked = {"evaluation": {"marks": str(path)}}
    row = scored(collection, collection.summarize(**asked))
    assert (row["right_kept"], row["wrong_kept"], row["precision"]) == ("1", "1", "0.5")
    settings = collection.summarize(**asked, fluorescence={"min_mean_intensity": 100})
    assert not marks_table_file(collection.results).exists()  # it was made from other tables
    row = scored(collection, settings)
    assert (row["right_kept"], row["wrong_kept"], row["precision"]) == ("1", "0", "1")
    number = marks_stamp(settings.evaluation, collection.results)
    saved(tmp_path, mark(image["image_id"], 0, True), key=key)
    assert marks_stamp(settings.evaluation, collection.results) == number + 1


def test_marks_of_another_model_are_refused(collection, tmp_path):
    path = saved(tmp_path, mark("A", 0, True), key="another")
    settings = collection.summarize(evaluation={"marks": str(path)})
    with pytest.raises(UserError, match=r"under the model key another, .* another model or other"):
        evaluate_marks(settings, collection.results)
