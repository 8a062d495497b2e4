"""Statistics of a few runs: interquartile mean, stratified bootstrap, probability of improvement.

All three as in "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (Agarwal et
al., NeurIPS 2021) and its package rliable. Scores are [..., runs, tasks].
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

RESAMPLES = 2_000
"""Number of bootstrap samples behind an interval."""
CONFIDENCE = 0.95


def interquartile_mean(scores: Scores) -> Scores:
    """Return the mean of the middle half of runs x tasks, without the lowest and highest quarter.

    The number cut off each end is rounded down, so that up to three scores it is the mean.

    Args:
        scores: [..., runs, tasks].

    Returns:
        [...].
    """
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    count = ordered.shape[-1]
    middle: Scores = ordered[..., count // 4 : count - count // 4].mean(axis=-1)
    return middle


def probability_of_improvement(scores: Scores, others: Scores) -> Scores:
    """Return the chance that a run beats one of another method at the same task; a tie is half.

    The Mann-Whitney statistic of each task, averaged over tasks.

    Args:
        scores: [..., runs, tasks].
        others: [..., runs, tasks]; the number of runs may differ.

    Returns:
        [...].
    """
    mine, theirs = scores[..., :, None, :], others[..., None, :, :]
    wins: Scores = ((mine > theirs) + 0.5 * (mine == theirs)).mean(axis=(-3, -2, -1))
    return wins


def performance_profile(scores: Scores, thresholds: Scores) -> Scores:
    """Return the share of runs x tasks whose score is above each threshold.

    Args:
        scores: [..., runs, tasks].
        thresholds: [points].

    Returns:
        [..., points].
    """
    above = scores[..., None] > thresholds
    shares: Scores = above.mean(axis=(-3, -2))
    return shares


def profile_interval(
    scores: Scores, thresholds: Scores, resamples: int = RESAMPLES
) -> tuple[Scores, Scores]:
    """Return the ends, each [points], of the profile's percentile interval at each threshold.

    Args:
        scores: [runs, tasks], drawn as in `bootstrap_interval`.
        thresholds: [points].
        resamples: number of draws.
    """
    rng = np.random.default_rng(0)
    drawn = [performance_profile(_drawn_again(scores, rng), thresholds) for _ in range(resamples)]
    low, high = interval(np.array(drawn))
    return low, high


def bootstrap_interval(
    statistic: Callable[..., Scores], *samples: Scores, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the percentile interval of a statistic over runs drawn again, with replacement.

    Stratified: each task's runs are drawn from that task's, and each method's from that method's.

    Args:
        statistic: function of that many samples.
        samples: [runs, tasks] of each method.
        resamples: number of draws; the draws are the same at every call.

    Returns:
        Lower and upper end.
    """
    rng = np.random.default_rng(0)
    # One draw after another: all of them at once would not fit where runs are many.
    values = [
        float(statistic(*(_drawn_again(sample, rng) for sample in samples)))
        for _ in range(resamples)
    ]
    low, high = interval(np.array(values))
    return float(low), float(high)


def _drawn_again(sample: Scores, rng: np.random.Generator) -> Scores:
    return np.take_along_axis(sample, rng.integers(len(sample), size=sample.shape), axis=0)


def interval(values: Scores) -> Scores:
    """Return the ends [2, ...] of the middle 95 % of [resamples, ...]."""
    tail = (1 - CONFIDENCE) / 2
    ends: Scores = np.quantile(values, [tail, 1 - tail], axis=0)
    return ends
