"""Traffic between learners: how often each edge mixes now, and how old its messages are."""

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from gala_rl.decode import Count, Number, fits
from gala_rl.errors import UserError
from gala_rl.gossip import topology
from gala_rl.methods import find
from gala_rl.records.metrics import Row

_WINDOW_S = 10.0
"""Rates and ages are over this time, or the last two rows if that is longer."""
_MOST_LEARNERS = 1024
"""Graphs of more learners are not drawn, and may take long to construct."""


class _Edge(TypedDict):
    sender: Count
    receiver: Count
    mixes: Count
    age_s: Number | None
    lag_updates: Number
    skipped_updates: Number


class _TrafficRow(TypedDict):
    """What is read of a row of `metrics/consensus.jsonl`, besides the columns of curves."""

    edges: NotRequired[list[_Edge]]
    distances: NotRequired[list[Number]]
    distance_bounds: NotRequired[list[Number] | None]


class Traffic:
    """Collects the newest rows of the distances between learners."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque()

    @property
    def is_known(self) -> bool:
        """Whether the newest rows have values per edge."""
        return any(row.get("edges") for row in self._rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows with a valid time; only those of the last seconds are kept."""
        newest = rows[-1]["time"] if rows else 0.0
        recent = [row for row in rows if row["time"] > newest - 2 * _WINDOW_S]
        self._rows.extend(row for row in recent if fits(_TrafficRow, row))
        while len(self._rows) > 2 and self._rows[1]["time"] < newest - _WINDOW_S:
            self._rows.popleft()

    def distances(self) -> list[tuple[float, float | None]]:
        """Return each learner's distance from the mean, and its bound if it is known."""
        if not self._rows:
            return []
        distances = self._rows[-1].get("distances", [])
        bounds = self._rows[-1].get("distance_bounds") or []
        missing = [None] * (len(distances) - len(bounds))
        return list(zip(distances, [*bounds, *missing], strict=False))

    def edges(self) -> dict[tuple[int, int], dict[str, float | None]]:
        """Return by sender and receiver: mixes per second, and means over the mixes."""
        # The first row tells when the time begins that the others are about.
        rows = list(self._rows)[1:]
        if not rows:
            return {}
        duration = max(rows[-1]["time"] - self._rows[0]["time"], 1e-3)
        by_edge: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
        for edge in (edge for row in rows for edge in row.get("edges", [])):
            by_edge.setdefault((edge["sender"], edge["receiver"]), []).append(edge)
        return {ends: _summary(edges, duration) for ends, edges in by_edge.items()}


def _summary(edges: list[Mapping[str, Any]], duration: float) -> dict[str, float | None]:
    mixes = sum(edge["mixes"] for edge in edges)
    aged = [edge for edge in edges if edge["age_s"] is not None]
    aged_mixes = sum(edge["mixes"] for edge in aged)

    def mean(name: str) -> float:
        return float(sum(edge[name] * edge["mixes"] for edge in edges) / max(1, mixes))

    age = sum(edge["age_s"] * edge["mixes"] for edge in aged) / aged_mixes if aged_mixes else None
    return {
        "rate": mixes / duration,
        "age": age,
        "lag": mean("lag_updates"),
        "skipped": mean("skipped_updates"),
    }


def planned_edges(config: Mapping[str, Any], edge_file: Path) -> list[tuple[int, int]]:
    """Return all (sender, receiver) of a run's topology; none if it has no gossip or is unknown.

    Args:
        config: content of `config.json`'s `config`, of any version.
        edge_file: the run's copy of its file of edges, if it has one.
    """
    learners, gossip = config.get("learners"), config.get("gossip")
    if not isinstance(learners, int) or not 1 < learners <= _MOST_LEARNERS:
        return []
    try:
        if not find(str(config.get("method"))).gossips or not isinstance(gossip, dict):
            return []
        name = str(edge_file) if edge_file.is_file() else str(gossip.get("topology"))
        per_node = config.get("learners_per_node")
        graph = topology.make(name, learners, per_node if fits(Count, per_node) else None)
    except UserError:
        return []
    return [(j, i) for i in range(graph.learners) for j in graph.all_in_neighbours(i)]
