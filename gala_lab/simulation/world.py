"""The learners as they are at one instant, and the counts of what they have done so far."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from gala_lab.simulation.clocks import Clocks
from gala_lab.simulation.config import SimulationConfig
from gala_lab.simulation.network import InFlightMessage
from gala_lab.simulation.problems import make_problem
from gala_lab.simulation.randomness import Vector, generators


class World:
    """What schemes work on and measurements look at.

    Parameter vectors are replaced, never written to: a message under way is a reference.

    Args:
        config: of the cluster and its work.

    Attributes:
        parameters: [d] of each learner.
        served: [d] of the server where there is one: what counts in place of the learners' mean.
        is_present: whether each learner is there, rather than dead or not yet joined.
        updates: made by each learner; also the version of what it sends.
        total_updates: their sum.
        mixes: updates after which the learner averaged with others.
        ages: of what was mixed, in updates that its sender has made since; how often each.
        sent_messages: by each port, parts of messages too; the server's, if any, is the last.
        failures: of all learners.
    """

    def __init__(self, config: SimulationConfig) -> None:
        compute, failure, problem = generators(config.seed, 3)
        self.config = config
        self.clocks = Clocks(config, compute, failure)
        self.problem = make_problem(config, problem)
        self.parameters: list[Vector] = [self.problem.start()] * config.learners
        self.served: Vector | None = None
        first_joiner = config.learners - config.joiners
        self.is_present = [rank < first_joiner for rank in range(config.learners)]
        self.updates = [0] * config.learners
        self.total_updates = 0
        self.mixes = 0
        self.ages: Counter[int] = Counter()
        self.sent_messages = [0.0] * config.learners
        self.failures = 0

    def make_update(self, learner: int) -> None:
        """The learner's own step."""
        here = self.parameters[learner]
        self.parameters[learner] = here + self.problem.update(here)
        self.count_update(learner)

    def count_update(self, learner: int) -> None:
        """An update has been made, wherever its result is kept."""
        self.updates[learner] += 1
        self.total_updates += 1

    def mix(self, learner: int, letters: Sequence[InFlightMessage]) -> None:
        """Mix as in GALA's Algorithm 1, x ← (x + Σ_j m_j) / (1 + k); nothing without letters."""
        if not letters:
            return
        total = self.parameters[learner]
        for letter in letters:
            total = total + letter.parameters
            self.ages[self.updates[letter.sender] - letter.version] += 1
        self.parameters[learner] = total / (1 + len(letters))
        self.mixes += 1

    def average(self, members: Sequence[int]) -> None:
        """Members take the mean of their parameters as they are, which nobody has gone past."""
        mean = np.mean([self.parameters[learner] for learner in members], axis=0)
        for learner in members:
            self.parameters[learner] = mean
        self.mixes += len(members)
        self.ages[0] += len(members)

    def fail(self, learner: int) -> None:
        """The learner dies."""
        self.is_present[learner] = False
        self.failures += 1

    def come_back(self, learner: int, donors: Iterable[int]) -> None:
        """The learner is there (again), with the parameters of the first donor that is, if any."""
        donor = next((other for other in donors if self.is_present[other]), learner)
        self.parameters[learner] = self.parameters[donor]
        self.is_present[learner] = True
