"""How long updates take in a run, and so how long its supervisor waits for an answer to a request.

Learners look for requests within an update too, but a step of a simulator, an epoch of gradient
steps, or an update that all replicas make together, may itself take long.
"""

import time

from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_LEAST_S = 60.0
"""What a learner may always take: it may be one of many on a machine that is busy with others."""
_UPDATES = 2
"""Requests may come just too late for one update, and are answered in the next."""


class UpdatePace:
    """Measures updates by the counters of learners.

    Args:
        board: has the counters.
    """

    def __init__(self, board: SharedCounters) -> None:
        self._board = board
        self._slowest_s = 0.0
        self._seen: list[tuple[int, float]] = []

    def look(self) -> None:
        """See how far learners are; called a few times a second."""
        now = time.monotonic()
        made = self._board.members(LearnerCounter.UPDATES)
        self._seen += [(updates, now) for updates in made[len(self._seen) :]]
        for rank, updates in enumerate(made):
            before, since = self._seen[rank]
            if updates != before:
                self._slowest_s = max(self._slowest_s, (now - since) / max(1, updates - before))
                self._seen[rank] = updates, now

    def patience_s(self) -> float:
        """How long to wait for the answer to a request that is made now, in seconds."""
        now = time.monotonic()
        under_way_s = max((now - since for _, since in self._seen), default=0.0)
        return max(_LEAST_S, _UPDATES * max(self._slowest_s, under_way_s))
