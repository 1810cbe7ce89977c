"""Signals stop a job where nothing is lost: between images, never inside a critical block."""

import os
import signal

import pytest

from samfleet.detection.stopping import Stopped, StopSignals

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture
def signals():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
    yield StopSignals()
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_process_by_its_name(signals, number):
    with pytest.raises(Stopped, match=signal.Signals(number).name) as stopped:
        send(number)
    assert stopped.value.number == number


def test_no_handler_of_errors_takes_a_stop_for_one(signals):
    with pytest.raises(Stopped):
        try:
            send(signal.SIGTERM)
        except Exception:
            pytest.fail("taken for an error")


def test_a_critical_block_is_finished_first(signals):
    done = []
    with pytest.raises(Stopped), signals.critical():
        send(signal.SIGTERM)
        done.append("after the signal")
    assert done == ["after the signal"]


def test_without_a_signal_a_critical_block_changes_nothing(signals):
    with signals.critical():
        pass
    with pytest.raises(Stopped):
        send(signal.SIGTERM)


def test_an_error_in_a_critical_block_is_not_hidden(signals):
    with pytest.raises(ZeroDivisionError), signals.critical():
        raise ZeroDivisionError
    with pytest.raises(Stopped):
        send(signal.SIGTERM)


def test_a_second_signal_does_not_cut_off_what_the_first_one_left(signals):
    flushed = []
    with pytest.raises(Stopped) as stopped:
        try:
            send(signal.SIGUSR1)
        finally:
            with signals.critical():
                send(signal.SIGTERM)
                flushed.append("everything")
    assert flushed == ["everything"]
    assert stopped.value.number == signal.SIGTERM


def test_a_job_under_nohup_outlives_its_terminal(signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    StopSignals()
    send(signal.SIGHUP)
