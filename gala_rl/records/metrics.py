"""Writes and reads metrics: JSON lines per learner, readable while the run is in progress."""

import bisect
import heapq
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from gala_rl.decode import Count, Number, Rule, fits
from gala_rl.errors import StorageError

Row = dict[str, Any]
_Game = tuple[float, int, float]
"""Time at which it ended, order in which its row was read, score."""

RECENT_EPISODES = 100
"""`mean_return` is the mean over this many latest full games."""

_SMALLEST_DECIMAL = 1e-3
"""Smaller scores are printed with an exponent."""


class MetricsWriter:
    """Appends rows to a file, one write per row, so that a reader never sees half a row.

    Args:
        path: path of the file.

    Raises:
        StorageError: when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)
            is_torn = _has_torn_last_line(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be opened ({error.strerror})") from error
        if is_torn:
            self._append(b"\n")

    def write(self, row: dict[str, Any]) -> None:
        """Append one row.

        Raises:
            StorageError: when it cannot be written.
        """
        self._append(json.dumps(row, allow_nan=False).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        try:
            written = self._file.write(line)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written ({error.strerror})") from error
        if written != len(line):
            raise StorageError(f"{self._path} cannot be written (the disk is full)")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _has_torn_last_line(path: Path) -> bool:
    """Return whether a killed writer left half a row, to which the next row would be added."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return file.read(1) not in (b"", b"\n")


class MetricsReader:
    """Reads the rows that were appended to a file since the last call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new_rows(self) -> list[Row]:
        """Return complete rows that were not returned before; torn lines are skipped."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        complete, newline, _ = data.rpartition(b"\n")
        self._position += len(complete) + len(newline)
        rows = []
        for line in complete.splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows


class _LearnerRow(TypedDict):
    """Columns of a learner's row that are read again."""

    learner: Count
    agent_steps: Count
    total_agent_steps: Count
    updates: Count
    episodes: Count
    mixes: Count
    staleness_updates: Count
    overdue: Count
    time: Number
    agent_steps_per_s: Annotated[Number, Rule("above 0", lambda v: v > 0)]
    policy_loss: NotRequired[Number]
    value_loss: NotRequired[Number]
    entropy: NotRequired[Number]
    q_loss: NotRequired[Number]
    mean_q: NotRequired[Number]
    td_error: NotRequired[Number]
    replay_ratio: NotRequired[Number]
    sample_age_steps: NotRequired[Number]
    grad_norm: Number
    update_norm: Number
    learning_rate: Number
    rss_mb: Number
    mean_return: Number | None
    episode_returns: list[Number]
    episode_times: NotRequired[list[Number]]
    rejected: dict[str, Count]


def learner_rows(rows: list[Row]) -> list[Row]:
    """Return the valid rows of a learner, without damaged and foreign ones."""
    return [row for row in rows if fits(_LearnerRow, row) and _has_all_times(row)]


def _has_all_times(row: Row) -> bool:
    return len(_times(row)) == len(row["episode_returns"])


def _times(row: Row) -> list[float]:
    """Return when the games of a row ended: the row's time, if written by an earlier version."""
    times: list[float] = row.get("episode_times", [row["time"]] * len(row["episode_returns"]))
    return times


def drop_superseded(rows: Sequence[Row], end: float = math.inf) -> list[Row]:
    """Return a learner's rows without those whose agent steps were repeated later.

    A run that was killed continues from its newest checkpoint and repeats the steps since. So a row
    is dropped if a later row is at as many agent steps, or fewer.

    Args:
        rows: in the order in which they were written.
        end: agent steps from which the learner is about to continue; later rows are dropped.
    """
    fewest, last = end + 1, []
    for row in reversed(rows):
        if row["agent_steps"] < fewest:
            fewest = row["agent_steps"]
            last.append(row)
    return last[::-1]


class RecentGames:
    """Computes the mean score of the latest 100 games of all learners, by time of their end.

    Attributes:
        count: number of games that have been counted.
        mean: mean score of the latest 100 of them; None before the first.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: float | None = None
        self._newest: list[_Game] = []
        self._uncounted: list[_Game] = []
        self._numbers = itertools.count()

    def add(self, row: Row) -> None:
        """Add the games of a learner's row, to be counted by `count_until`."""
        for noted_at, score in zip(_times(row), row["episode_returns"], strict=True):
            # Clocks of machines differ, but no game ended after its row was written.
            ended_at = min(noted_at, row["time"])
            heapq.heappush(self._uncounted, (ended_at, next(self._numbers), score))

    def count_until(self, time: float) -> None:
        """Count all games that ended up to this time."""
        while self._uncounted and self._uncounted[0][0] <= time:
            # Sorted in, since a row may arrive late.
            bisect.insort(self._newest, heapq.heappop(self._uncounted))
            del self._newest[:-RECENT_EPISODES]
            self.count += 1
        self.mean = mean([score for _, _, score in self._newest])


class BestMean:
    """The best mean return so far, and when it was reached.

    Attributes:
        score: best mean return of the last 100 games; None before 100 games have ended.
        agent_steps: total agent steps at which it was reached.
        latest: newest mean return of the last 100 games; None likewise.
        latest_agent_steps: total agent steps up to which games have been counted.
    """

    def __init__(self) -> None:
        self.score: float | None = None
        self.agent_steps = 0
        self.latest: float | None = None
        self.latest_agent_steps = 0

    def update(self, games: RecentGames, total_agent_steps: int) -> None:
        """Take the games that have been counted up to these agent steps."""
        self.latest_agent_steps = max(self.latest_agent_steps, total_agent_steps)
        if games.mean is None or games.count < RECENT_EPISODES:
            return
        self.latest = games.mean
        if self.score is None or games.mean > self.score:
            self.score, self.agent_steps = games.mean, total_agent_steps


def score_text(score: float | None) -> str:
    """Format a score: three significant digits, and all digits before the decimal point."""
    if score is None:
        return "no game has ended yet"
    size = abs(float(f"{score:.3g}"))  # 9.996 is shown as 10.0
    if 0.0 < size < _SMALLEST_DECIMAL:
        return f"{score:.2e}"
    decimals = max(0, 2 - math.floor(math.log10(size))) if size else 2
    return f"{score:,.{decimals}f}"


def mean(values: list[float]) -> float | None:
    """Return the mean, None for an empty list."""
    return sum(values) / len(values) if values else None
