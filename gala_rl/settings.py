"""What can be chosen about each part of a run, as frozen dataclasses with help, unit and source."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from gala_rl.errors import UserError

EnvKind = Literal["atari", "discrete", "continuous"]
"""What the settings of papers depend on: an ALE game, or else the kind of its actions."""

_INT32 = 2**31 - 1
"""The emulator counts in 32 bits."""


def setting(default: Any, text: str, **bounds: float) -> Any:
    """A dataclass field with its help text and, optionally, `minimum`, `above`, `maximum`."""
    return field(default=default, metadata={"help": text, **bounds})


@dataclass(frozen=True, kw_only=True)
class AtariProtocol:
    """How an Atari game is presented; ignored for every other environment."""

    sticky_actions: float | None = setting(
        None,
        "probability that the last action repeats; default: what the id means "
        "(0 for *NoFrameskip-v4, 0.25 for ALE/*-v5)",
        minimum=0,
        maximum=1,
    )
    frame_skip: int = setting(
        4, "emulator frames an action is held (DQN, 2015)", minimum=1, maximum=1_000
    )
    max_pool: bool = setting(True, "pixel-wise maximum of the last two frames of a skip")
    frame_stack: int = setting(4, "consecutive images in one observation", minimum=1, maximum=1_000)
    image_size: int = setting(84, "height and width of an image, pixels", minimum=36, maximum=512)
    grayscale: bool = setting(True, "grey images instead of colour")
    noop_max: int = setting(
        30, "at most this many no-ops at the start of a game", minimum=0, maximum=_INT32
    )
    fire_reset: bool = setting(True, "press FIRE at the start of a game that needs it")
    life_loss_terminal: bool = setting(
        True, "in training, a lost life ends the return; the game itself goes on"
    )
    clip_rewards: bool = setting(
        True, "in training, only the sign of a reward counts; reported returns are always raw"
    )
    full_action_space: bool = setting(False, "all 18 actions instead of the game's own")
    max_episode_frames: int = setting(
        108_000,
        "a game is truncated after this many emulator frames (30 minutes)",
        minimum=1,
        maximum=_INT32,
    )


@dataclass(frozen=True, kw_only=True)
class AlgorithmSettings:
    """What every actor-critic algorithm has; each sets its own values, from its own paper."""

    name: ClassVar[str]
    keeps_choices: ClassVar[bool] = False
    """Whether updates need log π and V as they were when the actor acted."""
    rollout_steps: int = setting(5, "agent steps a simulator makes per update", minimum=1)
    discount: float = setting(0.99, "γ, discount a step", minimum=0, maximum=1)
    value_cost: float = setting(0.5, "weight of the mean squared value error", minimum=0)
    entropy_cost: float = setting(0.01, "weight of the policy's entropy", minimum=0)
    max_grad_norm: float = setting(0.5, "clip the gradient to this Euclidean norm", above=0)
    learning_rate: float = setting(7e-4, "learning rate, before learning_rate_rule", above=0)
    learning_rate_rule: Literal["sqrt", "constant"] = setting(
        "sqrt", "sqrt: times √(simulators of all learners / 16); constant: as given"
    )
    learning_rate_schedule: Literal["constant", "linear"] = setting(
        "constant", "linear: falls to 0 at the last agent step"
    )
    optimizer: Literal["rmsprop", "rmsprop-tf", "adam"] = setting(
        "rmsprop",
        "rmsprop: PyTorch's form, ε outside the root (GALA); "
        "rmsprop-tf: ε inside, accumulator starts at 1 (Baselines); adam: β 0.9 and 0.999",
    )
    rmsprop_decay: float = setting(
        0.99, "decay of the squared-gradient average", minimum=0, maximum=1
    )
    rmsprop_epsilon: float = setting(1e-5, "ε of RMSprop", above=0)
    adam_epsilon: float = setting(1e-5, "ε of Adam", above=0)
    normalize_observations: bool = setting(
        False, "the network sees vectors less their running mean, over their running deviation"
    )
    normalize_rewards: bool = setting(
        False,
        "the loss sees rewards over the running deviation of their discounted sum; "
        "reported returns are always raw",
    )

    def resolved(self, simulators: int, cores: int) -> Self:
        """With everything filled in that depends on a learner's simulators and cores."""
        return self

    def batch_simulators(self, simulators: int) -> int:
        """B of an update, given a learner's simulators: rollouts of so many go into it."""
        return simulators

    def check(self, simulators: int, *, is_recurrent: bool) -> None:
        """Raises UserError if settings don't fit together, the simulators or the network."""


def _with_default(default: Any, name: str) -> Any:
    """The field of that name of all algorithms, with a default of one algorithm alone."""
    return field(default=default, metadata=AlgorithmSettings.__dataclass_fields__[name].metadata)


@dataclass(frozen=True, kw_only=True)
class A2CSettings(AlgorithmSettings):
    """Advantage actor-critic (Mnih et al. 2016, synchronous form; values of GALA, 2019)."""

    name = "a2c"


@dataclass(frozen=True, kw_only=True)
class PPOSettings(AlgorithmSettings):
    """Proximal policy optimisation (Schulman et al. 2017; values of Baselines' ppo2 on Atari)."""

    name = "ppo"
    keeps_choices = True
    rollout_steps: int = _with_default(128, "rollout_steps")
    value_cost: float = _with_default(0.25, "value_cost")
    learning_rate: float = _with_default(2.5e-4, "learning_rate")
    learning_rate_rule: Literal["sqrt", "constant"] = _with_default(
        "constant", "learning_rate_rule"
    )
    learning_rate_schedule: Literal["constant", "linear"] = _with_default(
        "linear", "learning_rate_schedule"
    )
    optimizer: Literal["rmsprop", "rmsprop-tf", "adam"] = _with_default("adam", "optimizer")
    epochs: int = setting(4, "times an update goes over its rollout", minimum=1)
    minibatches: int = setting(4, "optimiser steps an epoch, each on its share", minimum=1)
    gae_lambda: float = setting(
        0.95, "λ of the advantages; 0: one step, 1: the whole rollout", minimum=0, maximum=1
    )
    normalize_advantages: bool = setting(True, "to mean 0 and deviation 1 in each minibatch")
    clip_range: float = setting(0.1, "ε, how far from 1 the policy's ratio counts", above=0)
    anneal_clip_range: bool = setting(True, "ε falls in step with the learning rate")
    value_clip_range: float | None = setting(
        None,
        "how far an update moves a value for free (Baselines' ppo2); default: unlimited",
        above=0,
    )
    target_kl: float | None = setting(
        None,
        "no further epoch after one in which the policy was farther than this (mean KL) from the "
        "one that acted; default: all epochs",
        above=0,
    )

    def check(self, simulators: int, *, is_recurrent: bool) -> None:
        """See `AlgorithmSettings.check`."""
        if is_recurrent and self.minibatches > simulators:
            raise UserError(
                f"minibatches {self.minibatches} is too many for {simulators} simulators: a "
                f"recurrent network's are whole simulators; use at most as many"
            )
        samples = self.rollout_steps * simulators
        least = 2 if self.normalize_advantages else 1
        if self.minibatches * least > samples:
            raise UserError(
                f"minibatches {self.minibatches} is too many for {samples} agent steps an update "
                f"(rollout_steps {self.rollout_steps} x simulators {simulators}): each needs "
                f"{least} or more"
            )


@dataclass(frozen=True, kw_only=True)
class ImpalaSettings(AlgorithmSettings):
    """Actors ahead of their learner, corrected by V-trace (Espeholt et al. 2018, table G.1).

    The paper's losses are sums over the batch, and so are its bound on the gradient and its ε.
    `value_cost` is half its baseline cost, which is on half the squared error.
    """

    name = "impala"
    keeps_choices = True
    rollout_steps: int = _with_default(20, "rollout_steps")
    value_cost: float = _with_default(0.25, "value_cost")
    max_grad_norm: float = _with_default(40.0, "max_grad_norm")
    learning_rate: float = _with_default(6e-4, "learning_rate")
    learning_rate_rule: Literal["sqrt", "constant"] = _with_default(
        "constant", "learning_rate_rule"
    )
    learning_rate_schedule: Literal["constant", "linear"] = _with_default(
        "linear", "learning_rate_schedule"
    )
    optimizer: Literal["rmsprop", "rmsprop-tf", "adam"] = _with_default("rmsprop-tf", "optimizer")
    rmsprop_epsilon: float = _with_default(0.01, "rmsprop_epsilon")
    actors: int | None = setting(
        None,
        "processes of a learner that act, each with its share of the learner's simulators; "
        "default: one a core of the learner's but one, which is for learning",
        minimum=1,
        maximum=1000,
    )
    actor_slots: int = setting(
        2,
        "rollouts of an actor that may wait or be in work before it has to wait",
        minimum=1,
        maximum=100,
    )
    batch_rollouts: int | None = setting(
        None,
        "actors' rollouts an update learns from; default: as many as there are actors",
        minimum=1,
    )
    clip_rho: float = setting(1.0, "ρ̄ of V-trace: largest weight of an error", above=0)
    clip_c: float = setting(1.0, "c̄ of V-trace: largest weight of a trace", above=0)

    def resolved(self, simulators: int, cores: int) -> Self:
        """See `AlgorithmSettings`: an actor a core but the learner's, if they divide simulators."""
        most = max(1, min(cores - 1, simulators))
        divisor = next(n for n in range(most, 0, -1) if simulators % n == 0)
        actors = self.actors or divisor
        return replace(self, actors=actors, batch_rollouts=self.batch_rollouts or actors)

    def batch_simulators(self, simulators: int) -> int:
        """See `AlgorithmSettings`."""
        assert self.actors is not None
        assert self.batch_rollouts is not None
        return simulators // self.actors * self.batch_rollouts

    def check(self, simulators: int, *, is_recurrent: bool) -> None:
        """See `AlgorithmSettings.check`."""
        if self.actors is not None and simulators % self.actors:
            raise UserError(
                f"simulators {simulators} cannot be shared equally by {self.actors} actors: "
                f"use a multiple of {self.actors}"
            )
        if self.clip_rho < self.clip_c:
            raise UserError(
                f"clip_rho {self.clip_rho} is below clip_c {self.clip_c}: V-trace needs it to be "
                f"at least as large"
            )


ALGORITHMS: Mapping[str, type[AlgorithmSettings]] = {
    settings.name: settings for settings in (A2CSettings, PPOSettings, ImpalaSettings)
}
"""By name, as in `config.json`."""


@dataclass(frozen=True, kw_only=True)
class GossipSettings:
    """How learners average their parameters; without effect with one learner."""

    topology: str = setting(
        "directed-ring",
        "directed-ring, undirected-ring, exponential, rotating-exponential, complete, "
        "hierarchical (with --learners-per-node), or a JSON file of [sender, receiver] edges",
    )
    when: Literal["auto", "all", "any"] = setting(
        "auto",
        "mix when all in-neighbours have news (GALA, Algorithm 1) or when any has; "
        "auto: any if hierarchical, else all",
    )
    mix_optimizer: bool = setting(
        False, "average the optimiser's state too; the paper averages parameters alone"
    )
    max_staleness: int | None = setting(
        None,
        "wait for live neighbours after this many updates without a mix; default: never",
        minimum=0,
    )
    deadline: float = setting(
        2.0, "seconds: longest wait for a silent neighbour before going on without it", above=0
    )
