"""A config in which nothing is optional: a run is built from it."""

import math
from dataclasses import dataclass, field

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.config.train import NETWORKS, TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.spaces import EnvironmentSpec

RULE_SIMULATORS = 16
"""Number of simulators at which `learning_rate` applies unscaled (papers: 16)."""

_ROW_AGENT_STEPS, _ROW_UPDATES = 8_000, 100
"""A learner writes a metrics row after this many agent steps or updates, whichever comes first."""


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(TrainConfig):
    """A `TrainConfig` with everything filled in; `gala_rl.methods.resolving.resolve` makes it.

    Attributes:
        environment: specs of the environment, read off one instance.
    """

    stagger: int = field(metadata=TrainConfig.__dataclass_fields__["stagger"].metadata)
    env: str = field(metadata=TrainConfig.__dataclass_fields__["env"].metadata)
    network: str = field(metadata=TrainConfig.__dataclass_fields__["network"].metadata)
    steps: int = field(metadata=TrainConfig.__dataclass_fields__["steps"].metadata)
    learners: int = field(metadata=TrainConfig.__dataclass_fields__["learners"].metadata)
    simulators: int = field(metadata=TrainConfig.__dataclass_fields__["simulators"].metadata)
    algorithm: AlgorithmSettings = field()
    environment: EnvironmentSpec = field(metadata={"is_read": True})

    @property
    def has_own_network(self) -> bool:
        """Whether a function of the user builds the torso."""
        return self.network not in NETWORKS

    @property
    def updates_per_row(self) -> int:
        """Updates between two metrics rows of a learner: `log_every`, or its default."""
        return self.log_every or min(_ROW_UPDATES, -(-_ROW_AGENT_STEPS // self.update_agent_steps))

    @property
    def update_agent_steps(self) -> int:
        """Agent steps per update, T x B."""
        algorithm = self.algorithm
        return algorithm.rollout_steps * algorithm.batch_simulators(self.simulators)

    @property
    def frame_stack(self) -> int:
        """Images in an observation, of which all but the last were seen before."""
        return self.atari.frame_stack if self.environment.kind == "atari" else 1

    @property
    def total_simulators(self) -> int:
        """Simulators of all learners together."""
        return self.simulators * self.learners

    @property
    def initial_learning_rate(self) -> float:
        """Learning rate at step 0 after `learning_rate_rule`."""
        match self.algorithm.learning_rate_rule:
            case "constant":
                scale = 1.0
            case "sqrt":
                scale = math.sqrt(self.total_simulators / RULE_SIMULATORS)
            case "linear":
                scale = self.learners * math.sqrt(self.simulators / RULE_SIMULATORS)
        return self.algorithm.learning_rate * scale

    def learning_rate_at(self, agent_steps: int) -> float:
        """Return the learning rate after `agent_steps` of all learners together."""
        rate = self.initial_learning_rate * self._bias_correction(agent_steps)
        if self.algorithm.learning_rate_schedule == "constant":
            return rate
        return rate * max(0.0, 1.0 - agent_steps / self.steps)

    def _bias_correction(self, agent_steps: int) -> float:
        """Return √(1 - decay^k) for update k, but at least 1/√learners.

        With the root, steps are as long as if RMSprop's average had no bias to 0. At first they
        need not be shorter than those of one large batch, whose rate is √learners times as small.
        One learner stays as in its paper.
        """
        algorithm = self.algorithm
        if not algorithm.bias_correction or algorithm.optimizer != "rmsprop" or self.learners == 1:
            return 1.0
        updates = agent_steps / (self.learners * self.update_agent_steps)
        unbiased = math.sqrt(1.0 - algorithm.rmsprop_decay ** (updates + 1.0))
        return max(unbiased, 1.0 / math.sqrt(self.learners))

    def threads_per_learner(self) -> int:
        """Return the largest number of threads of a learner: its share of the cores, at least 1."""
        return max(
            1, usable_cores() // (1 if self.serial else learners_per_machine(self, self.learners))
        )


def learners_per_machine(config: TrainConfig, learners: int) -> int:
    """Return how many learners share the cores of a machine: all, unless there is a cluster."""
    if config.cluster is None or config.learners_per_node is None:
        return learners
    return min(config.learners_per_node, learners)
