"""Rows: their columns are the store's, and a name that is not one of them is an error."""

from dataclasses import asdict, fields, replace

import pytest

from samfleet.detection.row import CandidateRow, ImageRow, image_rows
from samfleet.store.segments import CANDIDATE_FIELDS, IMAGE_FIELDS, SCHEMA
from tests.builders import stored_candidate, stored_rows


@pytest.mark.parametrize(
    ("row", "columns"), [(ImageRow, IMAGE_FIELDS), (CandidateRow, CANDIDATE_FIELDS)]
)
def test_fields_are_the_stores_columns_in_their_order(row, columns):
    assert [field.name for field in fields(row)] == [name for name, _ in columns]


def test_an_image_has_a_row_for_each_candidate_or_one():
    assert [row["candidate"] for row in stored_rows("A", 2)] == [0, 1]
    (row,) = image_rows(ImageRow(image_id="A"), [])
    known = {name: value for name, value in row.items() if value is not None}
    state = {"status": "ok", "reason": "", "transient": False}
    assert known == {"image_id": "A", "slice": "", "n_candidates": 0} | state
    assert {row["n_candidates"] for row in stored_rows("A", 2)} == {2}


def test_every_row_has_every_column():
    for rows in (stored_rows("A", 2), stored_rows("A", 0), stored_rows("A", status="error")):
        assert all(list(row) == SCHEMA.names for row in rows)
    candidate = stored_candidate(3)
    (row,) = image_rows(ImageRow(image_id="A"), [candidate])
    assert asdict(candidate).items() <= row.items()


def test_a_misspelt_column_is_an_error():
    with pytest.raises(TypeError, match="statsu"):
        ImageRow(image_id="A", statsu="error")
    with pytest.raises(TypeError, match="perimetre"):
        replace(stored_candidate(0), perimetre=1.0)
    with pytest.raises(TypeError, match="intensity_std"):
        CandidateRow(candidate=0)
