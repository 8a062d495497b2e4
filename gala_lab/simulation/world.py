"""The state of all learners at one instant, and counts of what they have done so far."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from gala_lab.simulation.clocks import Clocks
from gala_lab.simulation.network_model import InFlightMessage
from gala_lab.simulation.problems import make_problem
from gala_lab.simulation.random_streams import Vector, generators
from gala_lab.simulation.simulation_config import SimulationConfig


class World:
    """State that schemes change and curves measure.

    Parameter vectors are replaced, never written to: a message in flight is a reference.

    Args:
        config: config of the simulation.

    Attributes:
        parameters: vector [d] per learner.
        served: vector [d] of the server, if there is one: the loss is measured there.
        is_present: whether each learner is running: neither failed nor not yet joined.
        updates: made by each learner; also the version of what it sends.
        total_updates: their sum.
        mixes: updates after which the learner averaged with others.
        ages: count of each age of mixed parameters, in updates that their sender made since.
        sent_messages: by each port, fractions included; the server's, if any, is the last.
        failures: number of failures of all learners.
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
        """Make a learner's own update."""
        here = self.parameters[learner]
        self.parameters[learner] = here + self.problem.update(here)
        self.count_update(learner)

    def count_update(self, learner: int) -> None:
        """Count an update of a learner."""
        self.updates[learner] += 1
        self.total_updates += 1

    def mix(self, learner: int, messages: Sequence[InFlightMessage]) -> None:
        """Mix k messages as in GALA's Algorithm 1, x ← (x + Σ_j m_j) / (1 + k)."""
        if not messages:
            return
        total = self.parameters[learner]
        for message in messages:
            total = total + message.parameters
            self.ages[self.updates[message.sender] - message.version] += 1
        self.parameters[learner] = total / (1 + len(messages))
        self.mixes += 1

    def average(self, members: Sequence[int]) -> None:
        """Replace the parameters of members by their mean, which is 0 updates old."""
        mean = np.mean([self.parameters[learner] for learner in members], axis=0)
        for learner in members:
            self.parameters[learner] = mean
        self.mixes += len(members)
        self.ages[0] += len(members)

    def fail(self, learner: int) -> None:
        """Mark a learner as failed."""
        self.is_present[learner] = False
        self.failures += 1

    def join(self, learner: int, donors: Iterable[int]) -> None:
        """Mark a learner as present, with the parameters of the first donor that is, if any."""
        donor = next((other for other in donors if self.is_present[other]), learner)
        self.parameters[learner] = self.parameters[donor]
        self.is_present[learner] = True
