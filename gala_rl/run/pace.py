"""Measures how long updates take, to choose how long the supervisor waits for learners.

Learners check for requests within an update too, but a simulator's step, an epoch of gradient steps
or an update in which all replicas take part may itself take long.
"""

import time

from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_LEAST_S = 60.0
"""Shortest wait: the learner may share its machine with many busy processes."""
_UPDATES = 2
"""A request that just misses one update is answered in the next."""


class UpdatePace:
    """Measures the duration of updates from the learners' counters.

    Args:
        counters: counters of the run.
        saving_s: longest time for which a learner writes its replay, besides updates.
    """

    def __init__(self, counters: SharedCounters, saving_s: float = 0.0) -> None:
        self._counters, self._saving_s = counters, saving_s
        self._slowest_s = 0.0
        self._last: list[tuple[int, float]] = []

    def poll(self) -> None:
        """Read the counters; to be called a few times per second."""
        now = time.monotonic()
        made = self._counters.members(LearnerCounter.UPDATES)
        self._last += [(updates, now) for updates in made[len(self._last) :]]
        for rank, updates in enumerate(made):
            before, since = self._last[rank]
            if updates != before:
                self._slowest_s = max(self._slowest_s, (now - since) / max(1, updates - before))
                self._last[rank] = updates, now

    def timeout_s(self) -> float:
        """Return how many seconds to wait for the answer to a request made now."""
        now = time.monotonic()
        under_way_s = max((now - since for _, since in self._last), default=0.0)
        updates_s = _UPDATES * max(self._slowest_s, under_way_s)
        return max(_LEAST_S, updates_s) + self._saving_s
