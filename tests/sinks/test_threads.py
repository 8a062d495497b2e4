"""A sink that fails, hangs or is slow is reported once; the run and the other sinks go on."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from gala_rl.sinks import threads
from gala_rl.sinks.sink import Scalars
from gala_rl.sinks.threads import Sinks, sink_faults

ROW: Scalars = {"total_agent_steps": 1, "time": 1.0, "charts/SPS": 5.0}


class Recorder:
    """Records calls; `act` may raise or hang."""

    def __init__(self, act: Callable[[str], None] = lambda call: None) -> None:
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self._act = act

    def _record(self, call: str) -> None:
        self.calls.append(call)
        self.threads.add(threading.get_ident())
        self._act(call)

    def start(self, config: Mapping[str, Any]) -> None:
        self._record(f"start {config['seed']}")

    def row(self, row: Scalars) -> None:
        self._record(f"row {row['total_agent_steps']}")

    def close(self) -> None:
        self._record("close")


def raising(at: str, error: BaseException) -> Callable[[str], None]:
    def act(call: str) -> None:
        if call.startswith(at):
            raise error

    return act


@contextmanager
def hanging() -> Iterator[Callable[[str], None]]:
    """A function that hangs in `row`, until the block ends."""
    release = threading.Event()

    def act(call: str) -> None:
        if call.startswith("row"):
            release.wait(60)

    yield act
    release.set()


def notices_of(sinks: Sinks, count: int = 1) -> list[str]:
    """Notices, once there are so many."""
    notices: list[str] = []
    give_up = time.monotonic() + 30
    while len(notices) < count:
        assert time.monotonic() < give_up
        notices += sinks.take_notices()
        time.sleep(0.005)
    return notices


def test_a_sink_is_called_in_order_in_one_thread_that_is_not_the_run_s() -> None:
    sink = Recorder()
    sinks = Sinks([("mine", sink)])
    sinks.start({"seed": 3})
    for steps in (1, 2):
        sinks.row({**ROW, "total_agent_steps": steps})
    sinks.close()
    assert sink.calls == ["start 3", "row 1", "row 2", "close"]
    assert len(sink.threads) == 1
    assert threading.get_ident() not in sink.threads
    assert sinks.take_notices() == []


@pytest.mark.parametrize("at", ["start", "row", "close"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SystemExit(3)])
def test_a_sink_that_raises_is_reported_once_and_not_called_again(
    at: str, error: BaseException
) -> None:
    failing, other = Recorder(raising(at, error)), Recorder()
    sinks = Sinks([("log failing", failing), ("other", other)])
    sinks.start({"seed": 0})
    sinks.row(ROW)
    if at == "close":
        sinks.close()
    (notice,) = notices_of(sinks)
    assert notice.startswith(f"log failing failed ({at}: {type(error).__name__}: ")
    assert notice.endswith(": the run goes on without it")
    sinks.row(ROW)
    if at != "close":
        sinks.close()
    assert sinks.take_notices() == []
    assert [call.split()[0] for call in failing.calls] == {
        "start": ["start"],
        "row": ["start", "row", "close"],
        "close": ["start", "row", "close"],
    }[at]
    assert other.calls[0] == "start 0"
    assert other.calls[-1] == "close"


def test_a_sink_that_hangs_is_reported_after_the_deadline_and_closing_does_not_wait() -> None:
    with hanging() as hang:
        sinks = Sinks([("log hung", Recorder(hang))], deadline_s=0.05)
        sinks.start({"seed": 0})
        sinks.row(ROW)
        assert notices_of(sinks) == [
            "log hung failed (it did not return for 0.05 s): the run goes on without it"
        ]
        sinks.close()
        assert sinks.take_notices() == []


def test_the_end_of_a_run_waits_for_a_sink_up_to_the_deadline() -> None:
    with hanging() as hang:
        sinks = Sinks([("log hung", Recorder(hang))], deadline_s=0.2)
        sinks.start({"seed": 0})
        sinks.row(ROW)
        sinks.close()
        (notice,) = sinks.take_notices()
        assert notice.startswith("log hung failed (it ")


def test_rows_do_not_pile_up_before_a_sink_that_is_too_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_MOST_WAITING", 20)
    with hanging() as hang:
        sinks = Sinks([("log slow", Recorder(hang))])
        sinks.start({"seed": 0})
        for _ in range(30):
            sinks.row(ROW)
        assert notices_of(sinks) == [
            "log slow failed (20 rows are waiting for it): the run goes on without it"
        ]


class NoClose:
    start = row = print


def test_what_is_not_a_sink_is_named() -> None:
    assert sink_faults(Recorder()) is None
    assert "is a class: give an object, Recorder(…)" in str(sink_faults(Recorder))
    assert "has no function close" in str(sink_faults(NoClose()))
    assert "has no function start" in str(sink_faults(print))
