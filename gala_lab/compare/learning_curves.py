"""The learning curve of a run, from its rows of metrics: score by agent steps and by seconds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gala_lab.compare.statistics import RESAMPLES, interquartile_mean, interval
from gala_rl.records.metrics import (
    RECENT_EPISODES,
    MetricsReader,
    RecentGames,
    Row,
    drop_superseded,
    learner_rows,
)
from gala_rl.records.run_folder import RunFolder

Array = NDArray[np.float64]

_UNACCOUNTED_S = 1.0
"""A longer time between two rows of a learner than its steps took: it was not training then."""


@dataclass(frozen=True)
class Curve:
    """A run's progress at each of its metrics rows, all learners together, in order of time.

    Attributes:
        agent_steps: made so far.
        seconds: trained so far, without pauses between a stop and a resume or work lost there.
        scores: mean raw return of the last 100 full games; NaN before the first.
        games: full games over so far.
    """

    agent_steps: Array
    seconds: Array
    scores: Array
    games: Array


def rows_of(run: RunFolder) -> list[list[Row]]:
    """Return each learner's metrics rows, without the rows of work that a resume discarded."""
    readers = map(MetricsReader, run.metrics_files())
    return [drop_superseded(learner_rows(reader.new_rows())) for reader in readers]


def curve_of(learners: Iterable[Sequence[Row]]) -> Curve:
    """Return the learning curve of a run.

    Args:
        learners: metrics rows per learner, in order.
    """
    spans = _together([_spans(rows) for rows in learners if rows])
    recent = RecentGames()
    for _, row in spans:
        recent.add(row)
    scores, games = [], []
    for _, row in spans:
        recent.count_until(row["time"])
        scores.append(np.nan if recent.mean is None else recent.mean)
        games.append(recent.count)
    steps = [row["total_agent_steps"] for _, row in spans]
    return Curve(
        np.maximum.accumulate(np.array(steps, dtype=float)),
        _trained(np.array([(begin, row["time"]) for begin, row in spans]).reshape(-1, 2)),
        np.array(scores),
        np.array(games, dtype=float),
    )


def _spans(rows: Sequence[Row]) -> list[tuple[float, Row]]:
    """Return each row with the time at which the work that it reports began."""
    spans, time, steps = [], float("-inf"), 0
    for row in rows:
        took = (row["agent_steps"] - steps) / row["agent_steps_per_s"]
        begin = max(time, row["time"] - took)
        spans.append((begin if begin - time > _UNACCOUNTED_S else time, row))
        time, steps = row["time"], row["agent_steps"]
    return spans


def _together(learners: Sequence[list[tuple[float, Row]]]) -> list[tuple[float, Row]]:
    """Return the spans of all learners by their ends; none begins while processes still start."""
    if not learners:
        return []
    # The others did not wait for a learner that joined after they had written rows.
    first_row = min(spans[0][1]["time"] for spans in learners)
    ready = min(first_row, max(spans[0][0] for spans in learners))
    spans = [(max(begin, ready), row) for own in learners for begin, row in own]
    return sorted(spans, key=lambda span: span[1]["time"])


def _trained(spans: Array) -> Array:
    """Return the seconds in which any learner trained until each span's end; ends ascend."""
    if not len(spans):
        return np.zeros(0)
    begins, ends = spans.T
    # A span that ends later may cover what lies before the begin of this one.
    begins = np.minimum.accumulate(begins[::-1])[::-1]
    before = np.concatenate([[-np.inf], ends[:-1]])
    seconds: Array = np.cumsum(ends - np.maximum(begins, before))
    return seconds


def reached(curve: Curve, threshold: float) -> dict[str, float] | None:
    """Return when the mean of a full hundred games first reached the threshold; None if never."""
    there = np.flatnonzero((curve.games >= RECENT_EPISODES) & (curve.scores >= threshold))
    if not len(there):
        return None
    first = there[0]
    return {
        "agent_steps": float(curve.agent_steps[first]),
        "seconds": float(curve.seconds[first]),
    }


def on_grid(x: Array, y: Array, grid: Array) -> Array:
    """Return the newest y at each point of a grid; NaN before the first."""
    newest = np.searchsorted(x, grid, side="right") - 1
    return np.concatenate([y, [np.nan]])[newest]  # -1 is the last, which is none


def summarised(runs: Sequence[Array]) -> dict[str, list[float | None]]:
    """Return interquartile mean and interval at each point, None where a run has no value.

    Args:
        runs: [points] of each.
    """
    scores = np.stack(runs)
    missing = np.isnan(scores.sum(axis=0))
    scores[:, missing] = 0.0
    drawn = np.random.default_rng(0).integers(len(scores), size=(RESAMPLES, len(scores)))
    ends = [interval(interquartile_mean(point[drawn][..., None])) for point in scores.T]
    low, high = np.stack(ends, axis=1)
    named = {"iqm": interquartile_mean(scores.T[..., None]), "low": low, "high": high}
    return {
        name: [None if gone else float(value) for gone, value in zip(missing, values, strict=True)]
        for name, values in named.items()
    }
