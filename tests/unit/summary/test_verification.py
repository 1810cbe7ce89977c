"""`on_error: fail`: an error that names the failed images, after everything else is done."""

import csv
from pathlib import Path

import pytest

from samfleet.results import summary_file, verified_file
from samfleet.summary.verification import FailedImages, verify_summary


def summary(results: Path, *statuses: str) -> Path:
    """A folder of results with a summary of images of these statuses."""
    path = summary_file(results)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "status", "reason"])
        writer.writerows((f"{n}.tif", status, f"why {n}") for n, status in enumerate(statuses))
    return results


def test_objects_or_none_are_no_failure(tmp_path):
    verify_summary(summary(tmp_path, "ok", "empty", "ok"))
    assert verified_file(tmp_path).read_text() == "3 images, none failed\n"


@pytest.mark.parametrize(
    "status",
    [
        "changed",
        "pending",
        "unreadable",
        "unsupported",
        "too_large",
        "out_of_memory",
        "error",
    ],
)
def test_every_other_status_is_one(tmp_path, status):
    with pytest.raises(FailedImages) as error:
        verify_summary(summary(tmp_path, "ok", status))
    assert "1 of 2 images failed" in str(error.value)
    assert f"1.tif: {status}: why 1" in str(error.value)
    assert "0.tif" not in str(error.value)
    assert not verified_file(tmp_path).exists()


def test_of_many_failures_the_first_twenty_are_named(tmp_path):
    with pytest.raises(FailedImages) as error:
        verify_summary(summary(tmp_path, *["error"] * 30))
    assert "30 of 30" in str(error.value)
    assert "19.tif" in str(error.value)
    assert "20.tif" not in str(error.value)
    assert str(error.value).endswith("and 10 more")
