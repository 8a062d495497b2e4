"""Limits for answers follow what updates take."""

from types import SimpleNamespace

import pytest

from gala_rl.run import pace
from gala_rl.run.pace import UpdatePace
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters


class Run:
    """Two learners' counters, and a clock that a test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.counters = SharedCounters(2, 1, 1)
        self.pace = UpdatePace(self.counters)
        self.pace.poll()

    def pass_time(self, seconds: float, *updates: int) -> float:
        self.now += seconds
        for rank, made in enumerate(updates):
            self.counters.set(rank, LearnerCounter.UPDATES, made)
        self.pace.poll()
        return self.pace.timeout_s()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(monkeypatch)


def test_who_is_fast_has_a_minute_as_ever(run: Run) -> None:
    assert run.pass_time(0.2) == 60.0
    assert run.pass_time(0.2, 3, 1) == 60.0


def test_who_takes_long_for_an_update_has_time_for_two(run: Run) -> None:
    run.pass_time(92.0, 1, 0)
    assert run.pass_time(1.0) == pytest.approx(2 * 93.0), "learner 1 is in its update for so long"
    run.pass_time(57.0, 2, 1)
    assert run.pass_time(1.0) == pytest.approx(2 * 150.0)
    assert run.pass_time(10.0, 3, 11) == pytest.approx(2 * 150.0), "the slowest so far"


def test_updates_seen_together_are_told_apart_by_their_number(run: Run) -> None:
    assert run.pass_time(100.0, 10, 10) == 60.0


def test_learners_that_join_are_followed_from_then_on(run: Run) -> None:
    run.counters = run.pace._counters = SharedCounters(1, 1, 1, capacity=2)
    run.pass_time(500.0)
    run.counters.set_learners(2)
    run.pass_time(0.2)
    assert run.pass_time(70.0, 1, 1) >= 2 * 70.0


def test_writing_replays_takes_time_besides(run: Run) -> None:
    pace = UpdatePace(run.counters, saving_s=90.0)
    assert pace.timeout_s() == 150.0
