"""Names the numbers of metrics rows as dashboards know them: CleanRL's names where it has one.

A learner's numbers are `learner_00/…`, as in its rows. Those over all learners are means, by group.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from gala_rl.records.metrics import RECENT_EPISODES, Row, mean
from gala_rl.sinks.sink import Scalars

SILENT_S = 60.0
"""What is known of all learners does not wait for one that has written no row for this long."""

_IDENTITY = {"learner", "total_agent_steps", "time"}
_PHASES = ("rollout", "update", "gossip")
"""What a learner's time is spent on; waiting is a part of gossip."""

_NOT_AVERAGED = {
    "agent_steps",
    "env_frames",
    "updates",
    "episodes",
    "mean_return",
    "agent_steps_per_s",
    "wait_s",
    *(f"{phase}_s" for phase in _PHASES),
}
"""Columns that have charts of their own, or none over all learners."""

_GROUPS = {
    "charts": ("learning_rate",),
    "gossip": ("mixes", "staleness_updates", "overdue", "rejected"),
    "replay": (
        "replay_ratio",
        "replay_steps",
        "sample_age_steps",
        "priority_mean",
        "priority_max",
        "gradient_steps",
    ),
    "actors": (
        "policy_lag_updates",
        "policy_lag_updates_max",
        "queue_wait_s",
        "actor_restarts",
    ),
    "system": ("cpu_s", "rss_mb", "simulator_failures"),
}
_CLEANRL = {"clip_fraction": "clipfrac", "q_loss": "td_loss", "mean_q": "q_values"}
"""CleanRL's names of losses that have another name here."""


class Charts:
    """Names the numbers of rows, and computes those over all learners."""

    def __init__(self) -> None:
        self._latest: dict[int, Row] = {}
        self._unaveraged: set[int] = set()
        self._lengths: deque[int] = deque(maxlen=RECENT_EPISODES)

    def of_learner(self, row: Row, mean_return: float | None) -> Scalars:
        """Return the numbers of a learner's row.

        After a row of each learner, or as soon as a learner has written two, they include means
        over all learners.

        Args:
            row: row of a learner; rows of all learners come in the order of their time.
            mean_return: mean score of the latest full games of all learners.
        """
        rank = row["learner"]
        scalars = _times(row)
        scalars |= {f"learner_{rank:02d}/{name}": value for name, value in _numbers(row)}
        self._lengths.extend(row.get("episode_agent_steps", ()))
        if mean_return is not None:
            scalars["charts/episodic_return"] = mean_return
        if self._lengths:
            scalars["charts/episodic_length"] = sum(self._lengths) / len(self._lengths)
        has_written_two = rank in self._unaveraged
        self._latest[rank] = row
        self._unaveraged.add(rank)
        present = [r for r in self._latest.values() if r["time"] > row["time"] - SILENT_S]
        if has_written_two or len(self._unaveraged) >= len(present):
            self._unaveraged.clear()
            scalars |= _over_learners(present)
        return scalars

    def of_consensus(self, row: Row) -> Scalars:
        """Return the numbers of a row of distances between learners."""
        names = {name: f"consensus/{name.removeprefix('consensus_')}" for name in row}
        return _times(row) | {names[name]: value for name, value in _numbers(row)}

    def of_evaluation(self, row: Row) -> Scalars:
        """Return the mean returns of an evaluation."""
        names = ("greedy_mean_return", "sampled_mean_return")
        return _times(row) | {f"evaluation/{name}": row[name] for name in names}


def _times(row: Row) -> dict[str, float]:
    return {"total_agent_steps": row["total_agent_steps"], "time": row["time"]}


def _numbers(row: Row) -> Iterator[tuple[str, float]]:
    """Yield name and value of each number of a row; of rejected messages, their total number."""
    for name, value in row.items():
        if name == "rejected":
            yield name, sum(value.values())
        elif name not in _IDENTITY and isinstance(value, int | float):
            yield name, value


def _over_learners(rows: list[Row]) -> dict[str, float]:
    """Return what is plotted over all learners, from the newest row of each."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in _numbers(row):
            values.setdefault(name, []).append(value)
    scalars = {
        _chart_of(name): sum(of_name) / len(of_name)
        for name, of_name in values.items()
        if name not in _NOT_AVERAGED
    }
    scalars["charts/SPS"] = sum(row["agent_steps_per_s"] for row in rows)
    if shares := mean([row["mixes"] / row["updates"] for row in rows if row["updates"]]):
        scalars["gossip/mixed_share"] = shares
    return scalars | _time_split(values)


def _time_split(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of time that learners spend on each phase, and on waiting."""
    spent = {name: sum(values.get(f"{name}_s", ())) for name in (*_PHASES, "wait")}
    total = sum(spent[phase] for phase in _PHASES)
    return {f"time/{name}": seconds / total for name, seconds in spent.items()} if total else {}


def _chart_of(name: str) -> str:
    for group, names in _GROUPS.items():
        if name in names:
            return f"{group}/{name}"
    return f"losses/{_CLEANRL.get(name, name)}"
