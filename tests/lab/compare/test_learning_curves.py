"""Curves from rows: scores of the last games, agent steps, and seconds that were really trained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala_lab.compare.learning_curves import (
    curve_of,
    on_grid,
    reached,
    summarised,
)
from gala_rl.records.metrics import drop_superseded
from tests.support.comparison_rows import rows


def test_a_score_is_the_mean_of_the_last_hundred_games_of_all_learners() -> None:
    first = rows([1.0, 3.0], [10, 30], returns=[[], [8.0] * 100], learners=2)
    second = rows([2.0, 4.0], [20, 40], returns=[[2.0, 4.0], [0.0] * 25], learners=2)
    curve = curve_of([first, second])
    assert np.isnan(curve.scores[0])
    assert curve.scores[1:].tolist() == [3.0, 8.0, 6.0]
    assert curve.games.tolist() == [0, 2, 102, 127]
    assert curve.agent_steps.tolist() == [20, 40, 60, 80]
    assert curve.seconds.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_time_between_a_stop_and_a_resume_is_not_counted() -> None:
    before = rows([10.0, 20.0], [100, 200])
    after = rows([5020.0, 5030.0], [300, 400], begin=5010.0)
    after[0]["agent_steps_per_s"] = 100 / 10.0
    curve = curve_of([before + after])
    assert curve.seconds.tolist() == [10.0, 20.0, 30.0, 40.0]


def test_what_a_killed_run_did_after_its_checkpoint_is_not_counted() -> None:
    # A row each 100 steps; killed at 390, and resumed from a checkpoint at 250.
    before = rows([10.0, 20.0, 30.0], [100, 200, 300], returns=[[1.0], [2.0], [777.0]])
    after = rows([1005.0, 1015.0], [300, 400], returns=[[3.0], [4.0]])
    after[0]["agent_steps_per_s"] = 10.0  # 50 of the 100 steps, in the 5 s since 1000.0
    (rest,) = [drop_superseded(before + after)]
    assert [row["agent_steps"] for row in rest] == [100, 200, 300, 400]
    curve = curve_of([rest])
    # The 50 steps before the checkpoint count as long as the 50 after it.
    assert curve.seconds.tolist() == [10.0, 20.0, 30.0, 40.0]
    assert curve.scores[-1] == np.mean([1.0, 2.0, 3.0, 4.0])


def test_a_learner_that_is_restarted_does_not_stop_the_clock_of_the_others() -> None:
    steady = rows([10.0, 20.0, 30.0, 40.0], [100, 200, 300, 400], learners=2)
    dead_for_a_while = rows([10.0, 40.0], [100, 120], learners=2)
    dead_for_a_while[1]["agent_steps_per_s"] = 20.0  # in one second
    assert curve_of([steady, dead_for_a_while]).seconds[-1] == 40.0


def test_the_clock_begins_when_all_learners_are_there() -> None:
    early = rows([10.0], [100], begin=0.0)
    late = rows([10.0], [100], begin=4.0)
    assert curve_of([early, late]).seconds[-1] == 6.0
    too_late = rows([30.0], [100], begin=25.0)
    steady = rows([10.0, 20.0, 30.0], [100, 200, 300])
    assert curve_of([steady, too_late]).seconds[-1] >= 20.0, "of that it costs a row at most"


@given(st.lists(st.floats(2.0, 50.0), min_size=1, max_size=6), st.integers(1, 4))
def test_pauses_of_any_length_leave_no_trace(pauses: list[float], learners: int) -> None:
    own = []
    now, steps = 0.0, 0
    for pause in pauses:
        for _ in range(3):
            now, steps = now + 4.0, steps + 40
            (row,) = rows([now], [steps])
            own.append(row | {"agent_steps_per_s": 10.0})
        now += pause
    curve = curve_of([own] * learners)
    assert curve.seconds[-1] == pytest.approx(12.0 * len(pauses))
    assert (np.diff(curve.seconds) >= -1e-9).all()


def test_a_threshold_is_reached_with_a_full_hundred_games_and_not_before() -> None:
    lucky = [[500.0] * 5, [100.0] * 94, [100.0], [200.0] * 100, [0.0] * 100]
    curve = curve_of([rows([1, 2, 3, 4, 5], [10, 20, 30, 40, 50], returns=lucky)])
    assert reached(curve, 120.0) == {"agent_steps": 30, "seconds": 3.0}
    assert reached(curve, 200.0) == {"agent_steps": 40, "seconds": 4.0}
    assert reached(curve, 201.0) is None


def test_a_run_without_rows_has_an_empty_curve() -> None:
    curve = curve_of([[]])
    assert reached(curve, 0.0) is None
    assert np.isnan(on_grid(curve.agent_steps, curve.scores, np.arange(3.0))).all()


def test_a_grid_takes_the_newest_value_and_none_from_the_future() -> None:
    x, y = np.array([1.0, 3.0]), np.array([5.0, 7.0])
    values = on_grid(x, y, np.array([0.0, 1.0, 2.9, 3.0, 9.0]))
    assert np.isnan(values[0])
    assert values[1:].tolist() == [5.0, 5.0, 7.0, 7.0]


def test_a_summary_has_no_value_where_a_run_has_none() -> None:
    runs = [np.array([np.nan, 1.0, 3.0]), np.array([0.0, 2.0, 3.0])]
    result = summarised(runs)
    assert result == {"iqm": [None, 1.5, 3.0], "low": [None, 1.0, 3.0], "high": [None, 2.0, 3.0]}
    assert np.isnan(runs[0][0]), "what was given is left as it was"


def test_one_run_is_its_own_interval() -> None:
    result = summarised([np.array([1.0, 2.0])])
    assert result["low"] == result["iqm"] == result["high"] == [1.0, 2.0]
