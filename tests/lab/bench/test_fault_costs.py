"""What a fault costs is read off samples as a person would read it off a curve."""

import pytest

from gala_lab.bench.fault_costs import ProgressSample, costs

RATE = 100
"""Agent steps a second of each of two learners."""


def run(
    stopped_for_s: float, other_for_s: float = 0.0, others: bool = True
) -> list[ProgressSample]:
    """Twenty seconds; at 10 s learner 1 stops making steps for a while, and so may learner 0."""

    def made(time_s: float, pause_s: float) -> int:
        paused = min(max(time_s - 10.0, 0.0), pause_s)
        return round(RATE * (time_s - paused))

    times = [k / 20 for k in range(401)]
    rows = [[made(t, other_for_s), made(t, stopped_for_s)] for t in times]
    return [
        ProgressSample(t, row if others else row[1:]) for t, row in zip(times, rows, strict=True)
    ]


def test_a_fault_that_costs_nothing_costs_nothing() -> None:
    found = costs(run(0.0), 10.0, {1})
    assert found["before_sps"] == pytest.approx(200, rel=0.01)
    assert found["soon_sps"] == pytest.approx(200, rel=0.01)
    assert found["lost_agent_steps"] == pytest.approx(0, abs=1)
    assert found["recovery_s"] == pytest.approx(0, abs=0.06)
    assert found["longest_pause_s"] == pytest.approx(0.05)


def test_a_struck_learner_costs_its_share_and_others_do_not_pause() -> None:
    found = costs(run(stopped_for_s=3.0), 10.0, {1})
    assert found["soon_sps"] == pytest.approx(200 - 100 * 3 / 5, rel=0.02)
    assert found["lost_agent_steps"] == pytest.approx(300, rel=0.02)
    # Two seconds at 0.95 of the rate may begin 0.2 s before the affected learner is back.
    assert found["recovery_s"] == pytest.approx(2.8, abs=0.1)
    assert found["longest_pause_s"] == pytest.approx(0.05)


def test_others_that_wait_pause_as_long_as_they_do() -> None:
    found = costs(run(stopped_for_s=3.0, other_for_s=2.5), 10.0, {1})
    assert found["longest_pause_s"] == pytest.approx(2.5, abs=0.1)
    assert found["longest_pause_before_s"] == pytest.approx(0.05)


def test_a_single_learner_has_no_others_and_may_never_recover() -> None:
    found = costs(run(stopped_for_s=10.0, others=False), 10.0, {0})
    assert found["recovery_s"] is None
    assert found["longest_pause_s"] is None
    assert found["soon_sps"] == 0


def test_without_samples_on_both_sides_there_is_no_answer() -> None:
    with pytest.raises(ValueError, match="before and after"):
        costs(run(0.0)[:100], 10.0, {1})
