"""The same aggregates by rliable, whose definitions they are."""

import numpy as np
import pytest

from gala_lab.compare.statistics import (
    Scores,
    bootstrap_interval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    profile_interval,
)

pytestmark = [
    pytest.mark.peers,
    # rliable and what it needs come with warnings of their own.
    pytest.mark.filterwarnings("ignore"),
]


def scores_of(runs: int, tasks: int, seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, size=(runs, tasks)) * rng.uniform(1, 3, size=tasks)


@pytest.mark.parametrize("runs", [1, 2, 3, 4, 5, 7, 10, 25])
@pytest.mark.parametrize("tasks", [1, 2, 6])
def test_estimates_are_equal(runs: int, tasks: int) -> None:
    from rliable import metrics

    mine, theirs = scores_of(runs, tasks, seed=1), scores_of(runs + 2, tasks, seed=2)
    theirs[0] = mine[0]
    assert float(interquartile_mean(mine)) == pytest.approx(metrics.aggregate_iqm(mine))
    assert float(probability_of_improvement(mine, theirs)) == pytest.approx(
        metrics.probability_of_improvement(mine, theirs)
    )
    assert float(probability_of_improvement(mine, mine)) == pytest.approx(
        metrics.probability_of_improvement(mine, mine)
    )


@pytest.mark.parametrize(("runs", "tasks"), [(3, 1), (5, 1), (10, 1), (10, 3), (5, 26)])
def test_intervals_agree_but_for_what_is_drawn(runs: int, tasks: int) -> None:
    from rliable import library, metrics

    scores = scores_of(runs, tasks, seed=runs)
    _, theirs = library.get_interval_estimates(
        {"x": scores},
        lambda x: np.array([metrics.aggregate_iqm(x)]),
        reps=20_000,
        random_state=np.random.RandomState(0),
    )
    mine = bootstrap_interval(interquartile_mean, scores, resamples=20_000)
    tolerance = 0.02 * (mine[1] - mine[0])
    assert mine == pytest.approx(theirs["x"].ravel().tolist(), abs=tolerance)


def test_intervals_of_improvement_agree_but_for_what_is_drawn() -> None:
    from rliable import library, metrics

    mine, theirs = scores_of(8, 2, seed=5), scores_of(10, 2, seed=6)
    _, expected = library.get_interval_estimates(
        {"x,y": (mine, theirs)},
        lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
        reps=5_000,
        random_state=np.random.RandomState(0),
    )
    found = bootstrap_interval(probability_of_improvement, mine, theirs, resamples=5_000)
    assert found == pytest.approx(expected["x,y"].ravel().tolist(), abs=0.02)


@pytest.mark.parametrize(("runs", "tasks"), [(3, 1), (5, 6), (20, 3)])
def test_profiles_are_equal_and_their_intervals_agree_but_for_what_is_drawn(
    runs: int, tasks: int
) -> None:
    from rliable import library

    scores, thresholds = scores_of(runs, tasks, seed=runs), np.linspace(0.0, 8.0, 33)
    shares, ends = library.get_interval_estimates(
        {"x": scores},
        lambda x: np.array([library.run_score_deviation(x, tau) for tau in thresholds]),
        reps=2_000,
        random_state=np.random.RandomState(0),
    )
    np.testing.assert_allclose(performance_profile(scores, thresholds), shares["x"], atol=1e-12)
    found = profile_interval(scores, thresholds)
    # A share has steps of one in runs x tasks: a quantile may be on either side of one.
    np.testing.assert_allclose(found, ends["x"], atol=1.01 / (runs * tasks))
    assert np.abs(np.array(found) - ends["x"]).mean() < 0.01
