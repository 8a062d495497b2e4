"""A cell of a study: one environment, algorithm, number of learners, rate and kind of gossip."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from gala_lab.study.options import SecondMoment
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve, with_settings

Algorithm = Literal["a2c", "ppo"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Everything but the seed that determines a run.

    Attributes:
        env: name of the environment.
        algorithm: algorithm of each learner.
        learners: n; 1: one large batch, without gossip.
        simulators: simulators per learner.
        steps: agent steps of all learners together.
        rate: factor on the learning rate that `gala train` uses.
        topology: one of `plan.TOPOLOGIES`.
        second_moment: the estimate; the optimizer divides by its root.
        optimizer: name of the optimizer; "own": the algorithm's default.
        bias_correction: whether RMSprop's bias is corrected; "own": the algorithm's default.
        delay: age of messages, in updates.
        missed: probability that a learner does not mix in a round.
        warm_up: fraction of the rounds, from the first, in which all learners average fully.
    """

    env: str
    algorithm: Algorithm
    learners: int
    simulators: int
    steps: int
    rate: float = 1.0
    topology: str = "directed-ring"
    second_moment: SecondMoment = "local"
    optimizer: Literal["own", "rmsprop", "rmsprop-tf", "adam"] = "own"
    bias_correction: Literal["own", "on", "off"] = "own"
    delay: int = 0
    missed: float = 0.0
    warm_up: float = 0.0

    @cached_property
    def config(self) -> ResolvedConfig:
        """The config of `gala train` for the same training; the cell uses its settings.

        Raises:
            UserError: when `gala train` rejects it.
        """
        config = TrainConfig(
            method=self.algorithm if self.learners == 1 else f"gala-{self.algorithm}",
            env=self.env,
            learners=None if self.learners == 1 else self.learners,
            simulators=self.simulators,
            steps=self.steps,
            serial=True,
        )
        given: dict[str, Any] = {} if self.optimizer == "own" else {"optimizer": self.optimizer}
        if self.bias_correction != "own":
            given["bias_correction"] = self.bias_correction == "on"
        return resolve(with_settings(config, given))

    @property
    def rounds(self) -> int:
        """Updates of each learner."""
        return self.steps // (self.learners * self.config.update_agent_steps)
