"""Looks how far the learners of one machine are, from a thread, twenty times a second."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any

from gala_rl.faults.costs import ProgressSample

_LOOK_EVERY_S = 0.05


class ProgressSampler:
    """Looks from now on, until it is stopped or the process ends.

    Args:
        look: returns the agent steps of each learner.

    Attributes:
        began_ns: when it began, by the machine's clock.
    """

    def __init__(self, look: Callable[[], list[int]]) -> None:
        self.began_ns = time.time_ns()
        self._look = look
        self._samples: list[ProgressSample] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def samples(self, begin: int = 0) -> list[ProgressSample]:
        """What was seen, by the machine's clock; without the first so many."""
        return self._samples[begin:]

    def resolution_s(self) -> float:
        """Longest time between two looks."""
        return max((b.time_s - a.time_s for a, b in pairwise(self._samples)), default=0.0)

    def struck(self, row: Mapping[str, Any]) -> tuple[float, Collection[int]]:
        """When a fault came that has a row in the log, and to which learners."""
        return row["time"], [row["learner"]]

    def _go_on(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            self._samples.append(ProgressSample(time.time(), self._look()))
