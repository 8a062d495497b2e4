"""Goals are judged by the results, from above or from below."""

import pytest

from benchmarks import goals
from benchmarks.goals import Goal


@pytest.mark.parametrize(
    ("measured", "at_most", "met"),
    [(1.0, False, True), (0.9, False, False), (1.0, True, True), (1.1, True, False)],
)
def test_a_goal_is_a_bound_from_below_or_above(measured: float, at_most: bool, met: bool) -> None:
    goal = Goal("speed", 1.0, lambda results: float(results["speed"]), at_most)
    assert goal.is_met({"speed": measured}) is met


def test_every_goal_finds_its_figure_in_the_results() -> None:
    results = goals.read()
    assert all(goal.measure(results) > 0 for goal in goals.GOALS)


def test_the_ceiling_is_ahead_by_as_much_as_training_falls_short_of_it() -> None:
    results = goals.read()
    throughput = results["throughput"]
    factor = throughput["ceiling_sps"] / throughput["achieved_sps"]
    ahead = dict(goals.at_the_ceiling(results))
    assert ahead["a2c"] == pytest.approx(throughput["achieved_over_a2c"] * factor)
    assert set(ahead) == {"a2c", *results["peers"]["verdicts"]}
