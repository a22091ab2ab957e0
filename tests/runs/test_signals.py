"""The first signal stops the run. An ignored SIGHUP stays ignored."""

import signal
from collections.abc import Iterator

import pytest

from arc.runs.signals import on_signal, stops
from arc.training import RunControl


@pytest.fixture
def hangup() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_requests_a_stop(number: signal.Signals, hangup: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    control = RunControl()
    with on_signal(stops(control)) as received:
        signal.raise_signal(number)
    assert received == [number]
    assert control.stop_requested
    assert control.reason == number.name


def test_an_ignored_hangup_stays_ignored(hangup: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    control = RunControl()
    with on_signal(stops(control)) as received:
        signal.raise_signal(signal.SIGHUP)
    assert received == []
    assert not control.stop_requested


def test_under_torchrun_a_second_signal_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    control = RunControl()
    with on_signal(stops(control)) as received:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # torchrun's own, after one for all processes
    assert received == [signal.SIGTERM]
