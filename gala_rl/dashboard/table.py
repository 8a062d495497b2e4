"""The curves of a run: one row per bin of equal time in training, over all learners."""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gala_rl.dashboard.clock import TrainingClock
from gala_rl.dashboard.series import DISTANCES, GAUGES, Series

Vector = NDArray[np.float64]

MOST_BINS = 720
"""A curve has at most this many points, as many as a chart has room for."""

_WIDTHS = (2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600)
_LATE_S = 10.0
"""Rows may be written so long after the time that they are about."""
_RATE_S = 10.0
"""Steps per second are measured over this time, or one bin if that is longer."""
_SILENT_S = 60.0
_SUMMED = ("cores", "rss_mb")


def bin_width(duration: float) -> float:
    """Return the width of bins in seconds for a run of this duration."""
    for width in _WIDTHS:
        if duration <= width * MOST_BINS:
            return float(width)
    return _WIDTHS[-1] * math.ceil(duration / (_WIDTHS[-1] * MOST_BINS))


class Table:
    """Curves of a run; columns have one value per bin, NaN where nothing is known.

    Attributes:
        width: width of a bin in seconds.
        columns: by name; `seconds` and `agent_steps` are those at the end of a bin.
    """

    def __init__(self) -> None:
        self.width = 0.0
        self.columns: dict[str, Vector] = {}

    @property
    def length(self) -> int:
        """Number of bins."""
        return len(self.columns.get("seconds", ()))

    def clear(self) -> None:
        """Forget everything, before an update with other rows."""
        self.width, self.columns = 0.0, {}

    def update(self, learners: Sequence[Series], distances: Series, clock: TrainingClock) -> None:
        """Bring the curves up to date; only bins at the end are computed anew."""
        learners = [series for series in learners if len(series.times)]
        times = [series.times for series in learners]
        if not times:
            return
        end = float(clock.seconds(np.array([max(t[-1] for t in times)]))[0])
        width = bin_width(end)
        if width != self.width:
            self.clear()
            self.width = width
        bins = max(1, math.ceil(end / width))
        first = max(0, min(self.length, bins) - 1 - math.ceil(_LATE_S / width))
        ends = np.minimum(np.arange(first + 1, bins + 1) * width, end)
        new = {"seconds": ends} | _of_learners(learners, clock, ends, width)
        new |= _of_distances(distances, clock, ends, width)
        before = self.columns
        self.columns = {n: np.concatenate([before.get(n, v)[:first], v]) for n, v in new.items()}
        self.columns["steps_per_s"] = self._rates()

    def _rates(self) -> Vector:
        seconds, steps = self.columns["seconds"], self.columns["expected_steps"]
        back = np.maximum(np.arange(len(seconds)) - max(1, round(_RATE_S / self.width)), -1)
        # Bin -1 is the start: no time and no steps.
        earlier_s, earlier = np.append(seconds, 0.0)[back], np.append(steps, 0.0)[back]
        return np.asarray((steps - earlier) / np.maximum(seconds - earlier_s, 1e-3))


def _of_learners(
    learners: Sequence[Series], clock: TrainingClock, ends: Vector, width: float
) -> dict[str, Vector]:
    total, expected = np.zeros(len(ends)), np.zeros(len(ends))
    gauges = []
    for series in learners:
        seconds = clock.seconds(series.times)
        total += _interpolated(seconds, series.column("agent_steps"), ends)
        expected += _interpolated(*_with_expected(seconds, series), ends)
        values = np.stack([_binned(series.column(n), seconds, ends, width) for n in GAUGES])
        # A learner that has died or left has no score.
        values[:, _is_silent(seconds, ends, width, series.interval)] = np.nan
        gauges.append(values)
    stacked = np.stack(gauges)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bins without any value
        means, sums = np.nanmean(stacked, axis=0), np.nansum(stacked, axis=0)
        low, high = np.nanmin(stacked[:, 0], axis=0), np.nanmax(stacked[:, 0], axis=0)
    sums[np.isnan(means)] = np.nan
    columns = {n: sums[i] if n in _SUMMED else means[i] for i, n in enumerate(GAUGES)}
    own = {"agent_steps": total, "expected_steps": expected}
    return own | {"mean_return_low": low, "mean_return_high": high} | columns


def _interpolated(seconds: Vector, steps: Vector, ends: Vector) -> Vector:
    return np.asarray(np.interp(ends, np.append(0.0, seconds), np.append(0.0, steps)))


def _with_expected(seconds: Vector, series: Series) -> tuple[Vector, Vector]:
    """Return times and steps of a learner's rows, and of the next row, which is not written yet.

    Without it the speed would seem to fall at the end.
    """
    steps, rate = series.column("agent_steps"), series.column("agent_steps_per_s")[-1]
    wait = min(series.interval, _LATE_S) if np.isfinite(rate) else 0.0
    return np.append(seconds, seconds[-1] + wait), np.append(
        steps, steps[-1] + max(0.0, rate) * wait
    )


def _of_distances(
    series: Series, clock: TrainingClock, ends: Vector, width: float
) -> Mapping[str, Vector]:
    seconds = clock.seconds(series.times)
    silent = _is_silent(seconds, ends, width, series.interval)
    columns = {}
    for name in DISTANCES:
        columns[name] = _binned(series.column(name), seconds, ends, width)
        columns[name][silent] = np.nan
    return columns


def _binned(values: Vector, seconds: Vector, ends: Vector, width: float) -> Vector:
    """Return the mean of the values in each bin; in a bin without any, the last one before."""
    is_known = ~np.isnan(values)
    values, seconds = values[is_known], seconds[is_known]
    if not len(values):
        return np.full(len(ends), np.nan)
    sums = np.append(0.0, np.cumsum(values))
    after = np.searchsorted(seconds, ends, side="right")
    before = np.searchsorted(seconds, np.ceil(ends / width - 1e-9) * width - width, side="right")
    counts = after - before
    held = np.append(np.nan, values)[after]
    means = (sums[after] - sums[before]) / np.maximum(counts, 1)
    return np.where(counts > 0, means, held)


def _is_silent(seconds: Vector, ends: Vector, width: float, interval: float) -> NDArray[np.bool_]:
    """Return per bin whether the last row before its end is too old to count."""
    newest = np.append(-np.inf, seconds)[np.searchsorted(seconds, ends, side="right")]
    return np.asarray(ends - newest > max(_SILENT_S, 3 * width, 3 * interval))
