"""The log of a job: what is kept of an attempt that fails."""

import contextlib
import errno
import logging
import os
import sys

import pytest

from samfleet.logs import configure_logging, kept_if_it_fails


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


def test_a_log_on_a_full_disk_leaves_the_message_on_stderr_alone(capsys):
    configure_logging("/dev/full")
    logging.getLogger("samfleet").warning("the message")
    said = capsys.readouterr().err
    root = logging.getLogger()
    (log,) = [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]
    root.removeHandler(log)
    with contextlib.suppress(OSError):
        log.close()
    assert "WARNING the message" in said
    assert "Traceback" not in said


def test_a_log_that_cannot_be_opened_is_named_without_a_traceback(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    logging.getLogger().handlers.clear()
    try:
        configure_logging(tmp_path / "file" / "job.log")
    except OSError as error:
        closed = PermissionError(errno.EACCES, "Permission denied", error.filename)
        sys.excepthook(type(closed), closed, error.__traceback__)
    said = capsys.readouterr().err
    assert "Permission denied; give yourself the right to it" in said
    assert "Traceback" not in said
