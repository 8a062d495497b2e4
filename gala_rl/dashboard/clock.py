"""Time in training: seconds since the start of a run, without pauses until it was resumed."""

import calendar
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gala_rl.records.metrics import Row


def seconds_of(stamp: object) -> float | None:
    """Return the seconds since 1970 of a `timestamp` in `config.json`; None if it is not one."""
    try:
        parsed = time.strptime(str(stamp), "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None
    return calendar.timegm(parsed) - (parsed.tm_gmtoff or 0)


class TrainingClock:
    """Converts times into seconds in training.

    Args:
        start: seconds since 1970 at which the run was started.
        resumes: seconds since 1970 at which it was resumed.
    """

    def __init__(self, start: float, resumes: Sequence[float] = ()) -> None:
        self.start = start
        self._resumes = sorted(resumes)
        self._begins = np.zeros(0)
        self._ends = np.zeros(0)
        self._lost = np.zeros(1)

    def find_pauses(self, row_times: Sequence[NDArray[np.float64]]) -> None:
        """Find the pauses: each from the last row before a resume until that resume.

        Args:
            row_times: sorted times of rows, per file.
        """
        pauses: list[tuple[float, float]] = []
        for resume in self._resumes:
            before = [
                times[np.searchsorted(times, resume) - 1] for times in row_times if len(times)
            ]
            # The run began before its first row, and a pause begins after the one before it.
            earliest = pauses[-1][1] if pauses else self.start
            pauses.append((max([earliest, *(t for t in before if t < resume)]), resume))
        self._begins = np.array([begin for begin, _ in pauses])
        self._ends = np.array([end for _, end in pauses])
        self._lost = np.concatenate([[0.0], np.cumsum(self._ends - self._begins)])

    def seconds(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the seconds in training at these times; a time in a pause counts as its begin."""
        ended = np.searchsorted(self._ends, times, side="right")
        started = np.searchsorted(self._begins, times, side="right")
        inside = started > ended
        begins = np.append(self._begins, np.inf)
        shown = np.where(inside, begins[ended], times)
        return np.asarray(np.maximum(0.0, shown - self.start - self._lost[ended]))


def is_plausible(row: Row, start: float, now: float) -> bool:
    """Return whether a row's time lies within a day of the run; others are damaged."""
    day = 86_400.0
    return start - day < float(row["time"]) < now + day
