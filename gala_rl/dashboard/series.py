"""Series of numbers from rows of metrics, thinned so that their length stays bounded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gala_rl.records.metrics import Row

PROGRESS = ("agent_steps", "agent_steps_per_s")
"""Columns of a learner's progress."""

GAUGES = (
    "mean_return",
    "cores",
    "rss_mb",
    "policy_loss",
    "value_loss",
    "entropy",
    "q_loss",
    "td_error",
    "mean_q",
    "grad_norm",
)
"""Columns of a learner of which a bin shows the mean."""

DISTANCES = (
    "consensus_rms",
    "consensus_rms_bound",
    "consensus_rms_nominal_bound",
    "consensus_span",
    "consensus_span_bound",
)
"""Columns of the distances between learners."""

_NEWEST = 64
"""So many rows at the end are not thinned."""


class Series:
    """Columns over time.

    Args:
        names: names of the columns, as in the rows; what a row lacks is NaN.
        budget: at more than twice as many rows, every second one is dropped.

    Attributes:
        names: as given.
        times: [n] seconds since 1970, which never decrease.
        values: [n, columns].
    """

    def __init__(self, names: Sequence[str], budget: int) -> None:
        self.names = tuple(names)
        self.times: NDArray[np.float64] = np.zeros(0)
        self.values: NDArray[np.float64] = np.zeros((0, len(names)))
        self._budget = budget

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows, which have a valid `time`."""
        if not rows:
            return
        times = np.array([float(row["time"]) for row in rows])
        values = [[_number(row.get(name)) for name in self.names] for row in rows]
        # The clock may have been set back.
        self.times = np.maximum.accumulate(np.concatenate([self.times, times]))
        self.values = np.concatenate([self.values, np.array(values)])
        if len(self.times) > 2 * self._budget:
            kept = np.arange(len(self.times)) % 2 == 0
            kept[-_NEWEST:] = True
            self.times, self.values = self.times[kept], self.values[kept]

    def drop_repeated(self, column: str) -> None:
        """Drop rows of a counter that was set back later, as by a resumed run."""
        counts = self.values[:, self.names.index(column)]
        later = np.append(np.minimum.accumulate(counts[::-1])[::-1][1:], np.inf)
        kept = counts < later
        if not kept.all():
            self.times, self.values = self.times[kept], self.values[kept]

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one column [n]."""
        found: NDArray[np.float64] = self.values[:, self.names.index(name)]
        return found

    @property
    def interval(self) -> float:
        """Median time between two rows in seconds; 0 for fewer than two."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0


def _number(value: object) -> float:
    """Return the value as a float, NaN if it is no number."""
    return float(value) if type(value) in (int, float) and abs(value) < 1e300 else np.nan  # type: ignore[arg-type]
