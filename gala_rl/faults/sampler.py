"""Samples the progress of one machine's learners in a thread, twenty times per second."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

_INTERVAL_S = 0.05


class ProgressSample(NamedTuple):
    """A time in seconds, and agent steps per learner at that time."""

    time_s: float
    agent_steps: list[int]


class ProgressSampler:
    """Samples agent steps until it is stopped or the process ends.

    Args:
        agent_steps: returns agent steps per learner.

    Attributes:
        began_ns: when it started, by the machine's clock.
    """

    def __init__(self, agent_steps: Callable[[], list[int]]) -> None:
        self.began_ns = time.time_ns()
        self._agent_steps = agent_steps
        self._samples: list[ProgressSample] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling."""
        self._stopped.set()
        self._thread.join()

    def samples(self, begin: int = 0) -> list[ProgressSample]:
        """Return the samples from an index on, by the machine's clock."""
        return self._samples[begin:]

    def resolution_s(self) -> float:
        """Return the longest time between two samples."""
        return max((b.time_s - a.time_s for a, b in pairwise(self._samples)), default=0.0)

    def affected(self, row: Mapping[str, Any]) -> tuple[float, Collection[int]]:
        """Return when a fault began and which learners it affects, given its row in the log."""
        return row["time"], [row["learner"]]

    def _run(self) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            self._samples.append(ProgressSample(time.time(), self._agent_steps()))
