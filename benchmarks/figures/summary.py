"""What a set of runs says: shares with their intervals, and quantiles that may never be reached."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.figures.runs import Row

_Z = 1.96
"""Quantile of the standard normal distribution for a 95 % interval."""

QUARTILES = (0.25, 0.5, 0.75)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share; unlike ± standard errors it is not empty at 0 and 1.

    "Probable Inference, the Law of Succession, and Statistical Inference", Wilson 1927.
    """
    share, z2 = successes / trials, _Z**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z / (1 + z2 / trials)
    half *= math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def reached_by(values: Sequence[float | None], share: float) -> float | None:
    """The value by which at least this share of all runs was there; None: fewer ever were.

    Args:
        values: of each run; None where it never got there within its budget.
        share: above 0.
    """
    there = sorted(value for value in values if value is not None)
    needed = math.ceil(share * len(values))
    return there[needed - 1] if needed <= len(there) else None


def bootstrap(values: Sequence[float], resamples: int = 2000) -> tuple[float, float]:
    """A 95 % interval of the mean: percentiles of the means of resampled values."""
    rng = np.random.default_rng(0)
    means = rng.choice(np.asarray(values), (resamples, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def groups(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Convergence of the runs of each method and number of simulators, in that order."""
    cells: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        cells.setdefault((row["method"], row["simulators"]), []).append(row)
    return [_group(*key, cells[key]) for key in sorted(cells)]


def _group(method: str, simulators: int, rows: Sequence[Row]) -> dict[str, Any]:
    converged = sum(row["reached_agent_steps"] is not None for row in rows)
    ended = sum(row["last"] is not None and row["last"] >= row["threshold"] for row in rows)
    return {
        "method": method,
        "simulators": simulators,
        "learners": rows[0]["learners"],
        "runs": len(rows),
        "converged": converged,
        "share": converged / len(rows),
        "interval": wilson(converged, len(rows)),
        "above_at_the_end": ended,
        **{
            f"{name}_quartiles": [reached_by([row[name] for row in rows], q) for q in QUARTILES]
            for name in ("reached_agent_steps", "reached_s")
        },
    }
