"""R2D2: recurrent Q-learning on sequences from a prioritised replay, with burn-in."""

from dataclasses import dataclass, replace
from typing import Literal

from gala_rl.config.settings import setting, with_default
from gala_rl.errors import UserError
from gala_rl.methods.method import MAX_DEFAULT_LEARNERS, Method
from gala_rl.methods.q_learning import QLearningSettings
from gala_rl.spaces import EnvKind


@dataclass(frozen=True, kw_only=True)
class R2D2Settings(QLearningSettings):
    """Recurrent replay (Kapturowski et al. 2019).

    The gradient's bound is that of SEED RL and rlpyt. The replay is smaller than the paper's, which
    has 4 million agent steps.
    """

    name = "r2d2"
    learner = "gala_rl.learners.r2d2"
    rollout_steps: int = with_default(40, "rollout_steps")
    discount: float = with_default(0.997, "discount")
    learning_rate: float = with_default(1e-4, "learning_rate")
    adam_epsilon: float = with_default(1e-3, "adam_epsilon")
    max_grad_norm: float = with_default(80.0, "max_grad_norm")
    n_step: int = with_default(5, "n_step", QLearningSettings)
    batch_size: int = with_default(64, "batch_size", QLearningSettings)
    target_every: int = with_default(2_500, "target_every", QLearningSettings)
    replay_ratio: float = with_default(0.8, "replay_ratio", QLearningSettings)
    priority_exponent: float = with_default(0.9, "priority_exponent", QLearningSettings)
    importance_exponent: float = with_default(0.6, "importance_exponent", QLearningSettings)
    exploration: Literal["ladder", "schedule"] = with_default(
        "ladder", "exploration", QLearningSettings
    )
    sequence_length: int = setting(
        80, "steps of a sequence, with its burn-in", minimum=1, maximum=100_000
    )
    burn_in: int = setting(
        40,
        "first steps of a sequence, which only bring the LSTM's state up to date; they are also "
        "the last ones of the sequence before, so that every step is learned from in one sequence",
        minimum=0,
    )

    @property
    def learned_steps(self) -> int:
        """See `QLearningSettings.learned_steps`."""
        return self.sequence_length - self.burn_in

    @property
    def burn_in_steps(self) -> int:
        """See `QLearningSettings.burn_in_steps`."""
        return self.burn_in

    def check(self, simulators: int, *, is_recurrent: bool, is_serial: bool) -> None:
        """See `AlgorithmSettings.check`."""
        if self.burn_in >= self.sequence_length:
            raise UserError(
                f"burn_in {self.burn_in} is too long for sequence_length {self.sequence_length}: "
                f"no step would be learned from; use less"
            )
        super().check(simulators, is_recurrent=is_recurrent, is_serial=is_serial)


def settings(kind: EnvKind) -> R2D2Settings:
    """Return the paper's values for Atari; our own for small networks."""
    if kind == "atari":
        return R2D2Settings()
    return R2D2Settings(
        rollout_steps=20,
        discount=0.99,
        learning_rate=1e-3,
        learning_rate_schedule="linear",
        adam_epsilon=1e-8,
        batch_size=16,
        sequence_length=20,
        burn_in=10,
        target_every=100,
        replay_size=100_000,
        min_replay=2_000,
        replay_ratio=4.0,
    )


METHOD = Method(
    name="r2d2",
    title="recurrent Q-learning from a prioritised replay",
    paper="Kapturowski et al. 2019, openreview.net/forum?id=r1lyTjAqYX; gradient bound: SEED RL, "
    "Espeholt et al. 2020, arXiv 1910.06591",
    sharing="nothing",
    default_learners=lambda cores: 1,
    default_simulators=lambda kind: 32 if kind == "atari" else 16,
    settings=settings,
    default_lstm_size=lambda kind: 512 if kind == "atari" else 64,
    atari={"clip_rewards": False, "life_loss_terminal": False},
)

GALA_METHOD = replace(
    METHOD,
    name="gala-r2d2",
    title="gossiping recurrent Q-learners, each with its replay",
    paper=f"Assran et al. 2019, arXiv 1906.04585, with {METHOD.paper}",
    sharing="gossip",
    # One learner per two cores: one core for itself, one for its actors.
    default_learners=lambda cores: min(max(2, cores // 2), MAX_DEFAULT_LEARNERS),
)
