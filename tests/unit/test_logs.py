"""The log of a job: what is kept of an attempt that fails."""

import errno
import os

import pytest

from samfleet.logs import kept_if_it_fails


def attempt(log, text: str, fails: bool) -> None:
    """An attempt of a job as Snakemake starts it: the log of the one before is removed."""
    log.unlink(missing_ok=True)
    log.write_text("")
    with kept_if_it_fails(log):
        log.open("a").write(text)
        if fails:
            raise LookupError


def test_logs_of_failed_attempts_are_kept_beside_the_last(tmp_path):
    log = tmp_path / "plan-0001.log"
    for text in ("first", "second"):
        with pytest.raises(LookupError):
            attempt(log, text, fails=True)
    attempt(log, "third", fails=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "plan-0001.failed-1.log": "first",
        "plan-0001.failed-2.log": "second",
        "plan-0001.log": "third",
    }


def test_nothing_is_kept_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(LookupError):
        attempt(tmp_path / "a.log", "first", fails=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]
