"""Metrics: one JSON line a learner and interval, appended, readable while the run goes on."""

import bisect
import heapq
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gala_rl.errors import StorageError
from gala_rl.records.plausible import are_counts, are_numbers, is_count, is_number

Row = dict[str, Any]
_Game = tuple[float, int, float]
"""Time at which it ended, place in the order in which games were told, score."""

RECENT_EPISODES = 100
"""`mean_return` is the mean over this many last full games."""

_SMALLEST_DECIMAL = 1e-3
"""Scores below it are shown with an exponent."""


class MetricsWriter:
    """Appends rows to a learner's file; each row is one write, so a reader never sees half.

    Raises a StorageError when the file cannot be opened for that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)
            is_cut = _ends_in_a_cut_line(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be opened ({error.strerror})") from error
        if is_cut:
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


def _ends_in_a_cut_line(path: Path) -> bool:
    """Whether a killed writer left half a row, which would spoil the next one."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return file.read(1) not in (b"", b"\n")


class MetricsReader:
    """Reads what was appended to a learner's file since the last call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new_rows(self) -> list[dict[str, Any]]:
        """Complete rows not returned before; a line cut by a killed writer is left out."""
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


_COUNTS = (
    *("learner", "agent_steps", "total_agent_steps", "updates", "episodes"),
    *("mixes", "staleness_updates", "overdue"),
)
_NUMBERS = (
    *("time", "agent_steps_per_s", "policy_loss", "value_loss", "entropy"),
    *("grad_norm", "update_norm", "learning_rate", "rss_mb"),
)


def of_learners(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those rows that a learner can have written, and that can be computed with."""
    return [
        row
        for row in rows
        if all(is_count(row.get(name)) for name in _COUNTS)
        and all(is_number(row.get(name)) for name in _NUMBERS)
        and row["agent_steps_per_s"] > 0
        and ((score := row.get("mean_return", "")) is None or is_number(score))
        and are_numbers(row.get("episode_returns"))
        and are_numbers(times := row.get("episode_times", row["episode_returns"]))
        and len(times) == len(row["episode_returns"])
        and isinstance(row.get("rejected"), dict)
        and are_counts(list(row["rejected"].values()))
    ]


def kept(rows: Sequence[Row], end: float = math.inf) -> list[Row]:
    """A learner's rows that lead to its end: no later row is at as few agent steps, or fewer.

    A run that was killed goes on from its newest checkpoint; what it had done since is done anew.

    Args:
        rows: in the order in which they were written.
        end: agent steps from which the learner is about to go on.
    """
    fewest, last = end + 1, []
    for row in reversed(rows):
        if row["agent_steps"] < fewest:
            fewest = row["agent_steps"]
            last.append(row)
    return last[::-1]


class RecentGames:
    """Mean score of the last 100 games of all learners, in the order in which they ended.

    Attributes:
        count: games that have been counted.
        mean: of the last of them; None before the first.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: float | None = None
        self._newest: list[_Game] = []
        self._later: list[_Game] = []
        self._numbers = itertools.count()

    def add(self, row: Row) -> None:
        """Note the games of a learner's row."""
        returns = row["episode_returns"]
        # Rows of earlier versions don't say when their games ended.
        times = row.get("episode_times", [row["time"]] * len(returns))
        for ended_at, score in zip(times, returns, strict=True):
            # Other machines' clocks may differ: a game has ended by the time of its row.
            heapq.heappush(self._later, (min(ended_at, row["time"]), next(self._numbers), score))

    def count_until(self, time: float) -> None:
        """Count the noted games that had ended by then."""
        while self._later and self._later[0][0] <= time:
            # One that is told late goes where it belongs.
            bisect.insort(self._newest, heapq.heappop(self._later))
            del self._newest[:-RECENT_EPISODES]
            self.count += 1
        self.mean = mean([score for _, _, score in self._newest])


def score_text(score: float | None) -> str:
    """Return a score as it is shown: three significant digits, and all digits before the point."""
    if score is None:
        return "no game over yet"
    size = abs(float(f"{score:.3g}"))  # 9.996 is shown as 10.0
    if 0.0 < size < _SMALLEST_DECIMAL:
        return f"{score:.2e}"
    decimals = max(0, 2 - math.floor(math.log10(size))) if size else 2
    return f"{score:,.{decimals}f}"


def mean(values: list[float]) -> float | None:
    """Mean, None of nothing."""
    return sum(values) / len(values) if values else None
