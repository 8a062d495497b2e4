"""The times at which learners finish their updates, fail, and return."""

import math

import numpy as np

from gala_lab.simulation.random_streams import exponential, positive
from gala_lab.simulation.simulation_config import SimulationConfig


class Clocks:
    """The timing of all learners, independent of what they learn.

    Args:
        config: config of the simulation.
        compute, failure: generators of the seconds of updates and of those between failures.
    """

    def __init__(
        self, config: SimulationConfig, compute: np.random.Generator, failure: np.random.Generator
    ) -> None:
        # A core takes its learners in turn: each is slower by the number of learners per core.
        sharing = 1.0 if config.cores is None else max(1.0, config.learners / config.cores)
        self._mean_s = [config.compute_s * sharing] * config.learners
        for straggler in range(config.stragglers):
            self._mean_s[straggler] *= config.slowdown
        self._relative = positive(compute, config.compute_distribution, config.compute_variation)
        self._failure_every_s = config.failure_every_s
        self._until_failure = exponential(failure)
        self._restart_s = config.restart_s
        self._failure_s = [self._next_failure_s(0.0) for _ in range(config.learners)]

    def finish(self, learner: int, start_s: float) -> tuple[float, bool]:
        """Return when the update begun at `start_s` ends, and whether by the learner's failure.

        A learner that waits may fail too: that is a time before `start_s`.
        """
        if self._failure_s[learner] < start_s - self._restart_s:
            # It has failed while it waited, perhaps more than once, and was back in time.
            self._failure_s[learner] = self._next_failure_s(start_s - self._restart_s)
        end_s = start_s + self._mean_s[learner] * next(self._relative)
        if self._failure_s[learner] < end_s:
            return self._failure_s[learner], True
        return end_s, False

    def recover(self, learner: int, failed_s: float) -> float:
        """Return when a learner that failed is back."""
        back_s = failed_s + self._restart_s
        self._failure_s[learner] = self._next_failure_s(back_s)
        return back_s

    def _next_failure_s(self, now_s: float) -> float:
        if self._failure_every_s is None:
            return math.inf
        return now_s + self._failure_every_s * next(self._until_failure)
