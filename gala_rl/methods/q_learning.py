"""Settings that all algorithms have which learn action values from a replay."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gala_rl.config.settings import LearningRateRule, setting, with_default
from gala_rl.errors import UserError
from gala_rl.methods.actor_processes import ActorProcessSettings
from gala_rl.spaces import ObservationSpec

if TYPE_CHECKING:
    from gala_rl.replay import ReplaySettings

_MOST_GRADIENT_STEPS = 5_000
"""Largest number of gradient steps per update: a learner that makes more looks as if it hung."""


@dataclass(frozen=True, kw_only=True)
class QLearningSettings(ActorProcessSettings):
    """Settings of Q-learning from a prioritised replay, with ε-greedy actors."""

    needs_behaviour = True
    draws_in_updates = True
    learns_action_values = True
    learning_rate_rule: LearningRateRule = with_default("constant", "learning_rate_rule")
    optimizer: Literal["rmsprop", "rmsprop-tf", "adam"] = with_default("adam", "optimizer")
    batch_rollouts: int | None = field(
        default=1, metadata=ActorProcessSettings.__dataclass_fields__["batch_rollouts"].metadata
    )
    n_step: int = setting(
        3, "n, rewards of a return before the value that it ends with", minimum=1, maximum=1_000
    )
    batch_size: int = setting(
        512, "transitions (dqn) or sequences (r2d2) per gradient step", minimum=1
    )
    target_every: int = setting(
        156,
        "gradient steps between two copies of the parameters to the target network",
        minimum=1,
    )
    replay_size: int = setting(
        500_000, "agent steps of a learner that its replay stores", minimum=1, maximum=10**10
    )
    min_replay: int = setting(50_000, "agent steps in the replay before learning begins", minimum=1)
    save_replay: bool = setting(
        False, "the newest checkpoint has the replay too, from which a resumed run continues"
    )
    replay_ratio: float = setting(
        8.0, "times that a learner learns from each agent step, on average", above=0
    )
    priority_exponent: float = setting(
        0.5, "exponent of priorities; 0: all are sampled equally often", minimum=0, maximum=10
    )
    importance_exponent: float = setting(
        0.4, "exponent of importance weights; 0: all are 1", minimum=0, maximum=10
    )
    exploration: Literal["ladder", "schedule"] = setting(
        "schedule",
        "ε, the probability of a random action; ladder: 0.4 ... 0.0007, another one for each "
        "simulator of all learners; schedule: the same for all, falling linearly from 1",
    )
    exploration_share: float = setting(
        0.1, "share of the run's agent steps in which a schedule's ε falls", above=0, maximum=1
    )
    final_epsilon: float = setting(0.01, "a schedule's ε after that", minimum=0, maximum=1)

    @property
    def learned_steps(self) -> int:
        """k: steps of an item that are learned from."""
        return 1

    @property
    def burn_in_steps(self) -> int:
        """l: steps of an item before those, which bring a recurrent state up to date."""
        return 0

    @property
    def steps_before_learning(self) -> float:
        """See `AlgorithmSettings.steps_before_learning`."""
        return self.min_replay + self.batch_steps / self.replay_ratio

    @property
    def saves_replay(self) -> bool:
        """See `AlgorithmSettings.saves_replay`."""
        return self.save_replay

    @property
    def batch_steps(self) -> int:
        """Agent steps that a gradient step learns from, at most."""
        return self.batch_size * self.learned_steps

    def minibatch_size(self, agent_steps: int) -> int:
        """See `AlgorithmSettings.minibatch_size`; an LSTM computes a row of sequences at a time."""
        return self.batch_size

    def epsilon_at(self, progress: float) -> float | None:
        """See `AlgorithmSettings.epsilon_at`."""
        if self.exploration == "ladder":
            return None
        passed = min(1.0, progress / self.exploration_share)
        return 1.0 + passed * (self.final_epsilon - 1.0)

    def replay(
        self, simulators: int, observation: ObservationSpec, *, frame_stack: int, state_size: int
    ) -> "ReplaySettings":
        """Return the settings of a learner's replay; see `AlgorithmSettings.replay_bytes`.

        Raises:
            UserError: if it has no room for an item of every simulator.
        """
        # Imported late: the help of commands must not import NumPy.
        from gala_rl.replay import ReplaySettings

        return ReplaySettings(
            size=self.replay_size,
            simulators=simulators,
            observation=observation,
            frame_stack=frame_stack,
            state_size=state_size,
            burn_in=self.burn_in_steps,
            learned_steps=self.learned_steps,
            n_steps=self.n_step,
            discount=self.discount,
            priority_exponent=self.priority_exponent,
            importance_exponent=self.importance_exponent,
        )

    def replay_bytes(
        self, simulators: int, observation: ObservationSpec, *, frame_stack: int, state_size: int
    ) -> int:
        """See `AlgorithmSettings.replay_bytes`."""
        from gala_rl.replay import TransitionReplay

        return TransitionReplay.memory_bytes(
            self.replay(simulators, observation, frame_stack=frame_stack, state_size=state_size)
        )

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """See `AlgorithmSettings.without_effect`."""
        yield from super().without_effect()
        if self.exploration == "ladder":
            yield "exploration_share", "exploration ladder"
            yield "final_epsilon", "exploration ladder"

    def check(self, simulators: int, *, is_recurrent: bool, is_serial: bool) -> None:
        """See `AlgorithmSettings.check`."""
        super().check(simulators, is_recurrent=is_recurrent, is_serial=is_serial)
        if self.min_replay < self.batch_steps:
            raise UserError(
                f"min_replay {self.min_replay:,} is too small: a batch learns from "
                f"{self.batch_steps:,} agent steps (batch_size {self.batch_size:,} x "
                f"{self.learned_steps}); use at least that, or smaller batches"
            )
        if 2 * self.min_replay > self.replay_size:
            raise UserError(
                f"min_replay {self.min_replay:,} is too large for replay_size "
                f"{self.replay_size:,}: use at most half of it"
            )
        # A truncated step takes two slots; so does the first one of a game, or more.
        if 2 * self.rollout_steps * simulators > self.replay_size:
            raise UserError(
                f"replay_size {self.replay_size:,} is too small for rollouts of "
                f"{self.rollout_steps:,} steps of {simulators:,} simulators: use at least "
                f"{2 * self.rollout_steps * simulators:,}"
            )
        steps = self.rollout_steps * self.batch_simulators(simulators)
        if (gradient_steps := self.replay_ratio * steps / self.batch_steps) > _MOST_GRADIENT_STEPS:
            raise UserError(
                f"replay_ratio {self.replay_ratio:g} cannot be held: an update of {steps:,} agent "
                f"steps would make {gradient_steps:,.0f} gradient steps of {self.batch_steps:,} "
                f"replayed steps each; use a smaller one, or larger batches"
            )
