"""Counts updates, mixes and message ages per edge, for rows of the consensus monitor."""

from dataclasses import dataclass, field
from typing import Any

from gala_rl.gossip.journal import Entry, Kind
from gala_rl.theory.realised import LONGEST_HISTORY

_MOST_EDGES = 256
"""With more edges than this, rows have no values per edge."""

UNKNOWN: dict[str, Any] = {
    "updates": None,
    "mixed_share": None,
    "update_norm_mean": None,
    "update_norm_max": None,
    "edges": [],
}
"""Values of a row without a journal."""


@dataclass
class _Edge:
    """Sums over the mixes of one edge since the last row."""

    mixes: int = 0
    ages: int = 0
    age_s: float = 0.0
    lag_updates: int = 0
    skipped_updates: int = 0

    def row(self) -> dict[str, Any]:
        return {
            "mixes": self.mixes,
            "age_s": self.age_s / self.ages if self.ages else None,
            "lag_updates": self.lag_updates / self.mixes,
            "skipped_updates": self.skipped_updates / self.mixes,
        }


@dataclass
class _Sums:
    """Sums over all learners since the last row."""

    updates: int = 0
    mixes: int = 0
    norms: float = 0.0
    largest_norm: float = 0.0
    edges: dict[tuple[int, int], _Edge] = field(default_factory=dict)


class Traffic:
    """Counts the entries of a journal.

    Args:
        learners: largest possible number of learners.
    """

    def __init__(self, learners: int) -> None:
        self._sent_at = [[(0, 0.0)] * LONGEST_HISTORY for _ in range(learners)]
        self._mixed_version: dict[tuple[int, int], int] = {}
        self._sums = _Sums()

    def count(self, entry: Entry) -> None:
        """Count an entry; entries are in the order of their times."""
        sums = self._sums
        if entry.kind == Kind.UPDATE:
            sums.updates += 1
            sums.norms += entry.norm
            sums.largest_norm = max(sums.largest_norm, entry.norm)
            sent = self._sent_at[entry.learner]
            sent[entry.version % LONGEST_HISTORY] = entry.version, entry.time_s
        elif entry.kind == Kind.MIX:
            sums.mixes += 1
            for sender, version in entry.messages:
                self._count_edge(entry, sender, version)

    def forget(self, learner: int) -> None:
        """Forget a learner that has left, so that messages it misses do not count as skipped."""
        for edge in [edge for edge in self._mixed_version if learner in edge]:
            del self._mixed_version[edge]

    def take_row(self) -> dict[str, Any]:
        """Return what was counted since the last call.

        `mixed_share`: share of updates that were followed by a mix. Per edge, means over its mixes:
        `age_s`, seconds from sending to mixing, None if no time of sending is known;
        `lag_updates`, by which the receiver's count of updates was ahead of the sender's;
        `skipped_updates`, updates of the sender that the receiver never got.
        """
        sums, self._sums = self._sums, _Sums()
        made = max(1, sums.updates)
        edges = [
            {"sender": sender, "receiver": receiver, **edge.row()}
            for (sender, receiver), edge in sorted(sums.edges.items())
        ]
        return {
            "updates": sums.updates,
            # At most 1: the first mix may follow an update that the previous row has counted.
            "mixed_share": min(1.0, sums.mixes / made),
            "update_norm_mean": sums.norms / made,
            "update_norm_max": sums.largest_norm,
            "edges": edges if len(edges) <= _MOST_EDGES else [],
        }

    def _count_edge(self, entry: Entry, sender: int, version: int) -> None:
        ends = sender, entry.learner
        edge = self._sums.edges.setdefault(ends, _Edge())
        edge.mixes += 1
        sent_version, sent_at = self._sent_at[sender][version % LONGEST_HISTORY]
        if sent_version == version:
            edge.ages += 1
            edge.age_s += entry.time_s - sent_at
        edge.lag_updates += entry.version - version
        edge.skipped_updates += version - self._mixed_version.get(ends, version - 1) - 1
        self._mixed_version[ends] = version
