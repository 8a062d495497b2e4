"""Aggregates of a few runs, beside literal forms of their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gala_lab.compare.statistics import (
    Scores,
    bootstrap_interval,
    interquartile_mean,
    probability_of_improvement,
)

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 4))
FINITE = st.floats(-1e6, 1e6)
SCORES = SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=FINITE))


def literal_iqm(scores: Scores) -> float:
    """Agarwal et al. 2021, section 4.3: throw away the bottom and top quarter, average the rest."""
    values = sorted(float(x) for row in scores for x in row)
    quarter = int(0.25 * len(values))
    rest = values[quarter : len(values) - quarter]
    return sum(rest) / len(rest)


def literal_improvement(mine: Scores, theirs: Scores) -> float:
    """The same, appendix: P(X > Y) + P(X = Y) / 2 over pairs of runs, averaged over tasks."""
    tasks = []
    for task in range(mine.shape[1]):
        pairs = list(itertools.product(mine[:, task], theirs[:, task]))
        tasks.append(sum(1.0 if x > y else 0.5 if x == y else 0.0 for x, y in pairs) / len(pairs))
    return sum(tasks) / len(tasks)


@given(SCORES)
def test_the_interquartile_mean_is_the_mean_of_the_middle_half(scores: Scores) -> None:
    assert float(interquartile_mean(scores)) == pytest.approx(literal_iqm(scores), abs=1e-6)


@given(SCORES, st.randoms())
def test_it_is_between_the_extremes_and_knows_no_order(scores: Scores, random: object) -> None:
    middle = float(interquartile_mean(scores))
    assert scores.min() - 1e-6 <= middle <= scores.max() + 1e-6
    shuffled = scores.ravel().copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert float(interquartile_mean(shuffled.reshape(scores.shape))) == pytest.approx(middle)


def test_outliers_do_not_move_it() -> None:
    scores = np.arange(8.0)[:, None]
    wild = scores.copy()
    wild[[0, 7]] = [-1e9], [1e9]
    assert interquartile_mean(wild) == interquartile_mean(scores) == 3.5


def test_it_takes_many_samples_at_once() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 6, 2))
    assert interquartile_mean(scores).tolist() == [float(interquartile_mean(s)) for s in scores]


@given(SCORES, st.integers(1, 7), st.integers(0, 99))
def test_the_probability_of_improvement_counts_pairs(mine: Scores, runs: int, seed: int) -> None:
    theirs = np.random.default_rng(seed).permutation(np.resize(mine, (runs, mine.shape[1])))
    expected = literal_improvement(mine, theirs)
    assert float(probability_of_improvement(mine, theirs)) == pytest.approx(expected)
    other_way = float(probability_of_improvement(theirs, mine))
    assert other_way == pytest.approx(1 - expected)


@settings(max_examples=20, deadline=None)
@given(SCORES)
def test_an_interval_holds_its_estimate_and_lies_within_the_scores(scores: Scores) -> None:
    low, high = bootstrap_interval(interquartile_mean, scores, resamples=500)
    assert low - 1e-6 <= float(interquartile_mean(scores)) <= high + 1e-6
    assert scores.min() - 1e-6 <= low <= high <= scores.max() + 1e-6


def test_one_run_has_an_interval_of_one_point() -> None:
    assert bootstrap_interval(interquartile_mean, np.array([[7.0]])) == (7.0, 7.0)


def test_the_interval_of_two_runs_is_known_exactly() -> None:
    # Means of two draws: 0, 1/2, 1 with chances 1/4, 1/2, 1/4, so 95 % reach from end to end.
    assert bootstrap_interval(interquartile_mean, np.array([[0.0], [1.0]])) == (0.0, 1.0)


def test_tasks_are_strata() -> None:
    # Drawn within each task nothing changes; drawn across tasks the mean would.
    scores = np.array([[0.0, 100.0]] * 5)
    assert bootstrap_interval(lambda s: s.mean(), scores, resamples=50) == (50.0, 50.0)
    # Each task on its own: the sum of two tasks whose runs mirror each other does change.
    mirrored = np.array([[0.0, 1.0], [1.0, 0.0]])
    low, high = bootstrap_interval(lambda s: s.mean(), mirrored, resamples=500)
    assert low < 0.5 < high


def test_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        scores = rng.normal(size=(40, 1))
        low, high = bootstrap_interval(interquartile_mean, scores, resamples=200)
        hits += low <= 0.0 <= high
    assert 0.88 <= hits / 200 <= 0.99
