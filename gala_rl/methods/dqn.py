"""Large-batch DQN: double, duelling, n-step Q-learning from a prioritised replay."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gala_rl.config.settings import setting, with_default
from gala_rl.errors import UserError
from gala_rl.methods.method import MAX_DEFAULT_LEARNERS, Method
from gala_rl.methods.q_learning import QLearningSettings
from gala_rl.spaces import EnvKind


@dataclass(frozen=True, kw_only=True)
class DQNSettings(QLearningSettings):
    """Q-learning on large batches (Stooke and Abbeel 2018), prioritised (Schaul et al. 2016).

    Eight uses per agent step, and a target copy every 10,000 agent steps. The learning rate is
    Rainbow's 6.25e-5 for batches of 32, times the root of the ratio of the batches; ε of Adam is
    0.005 by the batch.
    """

    name = "dqn"
    learner = "gala_rl.learners.dqn"
    rollout_steps: int = with_default(16, "rollout_steps")
    learning_rate: float = with_default(2.5e-4, "learning_rate")
    max_grad_norm: float = with_default(10.0, "max_grad_norm")
    categorical: bool = setting(
        False, "predict the distribution of returns over atoms, not their mean alone (C51)"
    )
    atoms: int = setting(51, "number of atoms of the distribution", minimum=2, maximum=10_000)
    lowest_value: float = setting(-10.0, "return at the first atom")
    highest_value: float = setting(10.0, "return at the last atom")

    @property
    def support(self) -> tuple[int, float, float] | None:
        """See `AlgorithmSettings.support`."""
        return (self.atoms, self.lowest_value, self.highest_value) if self.categorical else None

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """See `AlgorithmSettings.without_effect`."""
        yield from super().without_effect()
        if not self.categorical:
            for name in ("atoms", "lowest_value", "highest_value"):
                yield name, "a network that predicts no distribution (--categorical)"

    def check(self, simulators: int, *, is_recurrent: bool, is_serial: bool) -> None:
        """See `AlgorithmSettings.check`."""
        super().check(simulators, is_recurrent=is_recurrent, is_serial=is_serial)
        if is_recurrent:
            raise UserError(
                f"lstm_size is impossible with {self.name}, which learns from single steps: leave "
                f"it out, or choose r2d2"
            )
        if self.lowest_value >= self.highest_value:
            raise UserError(
                f"lowest_value {self.lowest_value:g} is not below highest_value "
                f"{self.highest_value:g}: no return would lie between them"
            )


def settings(kind: EnvKind) -> DQNSettings:
    """Return the papers' values for Atari; our own for small networks."""
    if kind == "atari":
        return DQNSettings()
    return DQNSettings(
        rollout_steps=4,
        learning_rate=1e-3,
        batch_size=64,
        target_every=200,
        replay_size=50_000,
        min_replay=1_000,
    )


METHOD = Method(
    name="dqn",
    title="large-batch Q-learning from a prioritised replay",
    paper="Stooke and Abbeel 2018, arXiv 1803.02811; Schaul et al. 2016, arXiv 1511.05952",
    sharing="nothing",
    default_learners=lambda cores: 1,
    default_simulators=lambda kind: 16,
    settings=settings,
)

GALA_METHOD = replace(
    METHOD,
    name="gala-dqn",
    title="gossiping Q-learners, each with its replay",
    paper=f"Assran et al. 2019, arXiv 1906.04585, with {METHOD.paper}",
    sharing="gossip",
    # One learner per two cores: one core for itself, one for its actors.
    default_learners=lambda cores: min(max(2, cores // 2), MAX_DEFAULT_LEARNERS),
)
