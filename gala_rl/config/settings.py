"""What can be chosen about each part of a run, as frozen dataclasses with help, unit and source."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from gala_rl.errors import UserError

_INT32 = 2**31 - 1
"""The emulator counts in 32 bits."""


def setting(default: Any, text: str, *, unset: str = "", metavar: str = "", **bounds: float) -> Any:
    """A dataclass field with what help says of it and, optionally, its bounds.

    Args:
        default: value where none is given.
        text: what the setting does.
        unset: what happens by default, where the default is None.
        metavar: name of the value in help; default: by its type.
        bounds: `minimum`, `above`, `maximum`.
    """
    metadata = {"help": text, "unset": unset, "metavar": metavar, **bounds}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class AtariProtocol:
    """How an Atari game is presented; ignored for every other environment."""

    sticky_actions: float | None = setting(
        None,
        "probability that the last action repeats",
        unset="what the id means: 0 for *NoFrameskip-v4, 0.25 for ALE/*-v5",
        metavar="P",
        minimum=0,
        maximum=1,
    )
    frame_skip: int = setting(
        4, "emulator frames per agent step (DQN, 2015)", minimum=1, maximum=1_000
    )
    max_pool: bool = setting(True, "pixel-wise maximum of the last two frames of a skip")
    frame_stack: int = setting(4, "consecutive images in one observation", minimum=1, maximum=1_000)
    image_size: int = setting(
        84, "height and width of an image", minimum=36, maximum=512, metavar="PIXELS"
    )
    grayscale: bool = setting(True, "grey images instead of colour")
    noop_max: int = setting(30, "most no-ops at the start of a game", minimum=0, maximum=_INT32)
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
        metavar="FRAMES",
    )


@dataclass(frozen=True, kw_only=True)
class AlgorithmSettings:
    """What every actor-critic algorithm has; each sets its own values, from its own paper."""

    name: ClassVar[str]
    keeps_choices: ClassVar[bool] = False
    """Whether updates need log π and V as they were when the actor acted."""
    rollout_steps: int = setting(5, "agent steps per simulator and update", minimum=1)
    discount: float = setting(0.99, "γ, discount per agent step", minimum=0, maximum=1)
    value_cost: float = setting(0.5, "coefficient of the mean squared value error", minimum=0)
    entropy_cost: float = setting(0.01, "coefficient of the policy's entropy", minimum=0)
    max_grad_norm: float = setting(0.5, "Euclidean norm to which the gradient is clipped", above=0)
    learning_rate: float = setting(7e-4, "learning rate, before --learning-rate-rule", above=0)
    learning_rate_rule: Literal["sqrt", "constant"] = setting(
        "sqrt", "sqrt: multiplied by √(simulators of all learners / 16); constant: as given"
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
        False, "subtract their running mean from vectors and divide by their standard deviation"
    )
    normalize_rewards: bool = setting(
        False,
        "divide rewards by the running standard deviation of their discounted sum; "
        "reported returns are always raw",
    )

    def simulators(self, published: int) -> int:
        """Simulators of a learner, where none are given: as many as are published, or nearly."""
        return published

    def fitted(
        self, simulators: int, given: Collection[str], *, is_recurrent: bool, has_pixels: bool
    ) -> Self:
        """With a preset's values brought within what is allowed, but for those that were given."""
        if has_pixels and "normalize_observations" not in given:
            return replace(self, normalize_observations=False)
        return self

    def resolved(self, shared: int, cores: int) -> Self:
        """With everything filled in that depends on what a learner's actors share, and on cores."""
        return self

    def batch_simulators(self, simulators: int) -> int:
        """B of an update, given a learner's simulators: rollouts of so many go into it."""
        return simulators

    def minibatch_size(self, agent_steps: int) -> int:
        """Samples of a gradient step, given the agent steps that an update learns from."""
        return agent_steps

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
    epochs: int = setting(4, "passes over the rollout per update", minimum=1)
    minibatches: int = setting(4, "minibatches per epoch, one optimiser step each", minimum=1)
    gae_lambda: float = setting(
        0.95, "λ of the advantages; 0: one step, 1: the whole rollout", minimum=0, maximum=1
    )
    normalize_advantages: bool = setting(
        True, "to mean 0 and standard deviation 1 in each minibatch"
    )
    clip_range: float = setting(0.1, "ε, how far the probability ratio may be from 1", above=0)
    anneal_clip_range: bool = setting(True, "ε falls in step with the learning rate")
    value_clip_range: float | None = setting(
        None,
        "how far an update may move a value at full weight (Baselines' ppo2)",
        unset="unlimited",
        above=0,
    )
    target_kl: float | None = setting(
        None,
        "end an update after the epoch in which the mean KL divergence from the acting policy "
        "exceeds this",
        unset="all epochs",
        above=0,
    )

    def minibatch_size(self, agent_steps: int) -> int:
        """See `AlgorithmSettings.minibatch_size`."""
        return agent_steps // self.minibatches

    def fitted(
        self, simulators: int, given: Collection[str], *, is_recurrent: bool, has_pixels: bool
    ) -> Self:
        """See `AlgorithmSettings`: no more minibatches than an update has parts for."""
        fitted = super().fitted(simulators, given, is_recurrent=is_recurrent, has_pixels=has_pixels)
        if "minibatches" in given:
            return fitted
        parts = simulators if is_recurrent else self.rollout_steps * simulators // self._least
        return replace(fitted, minibatches=max(1, min(self.minibatches, parts)))

    def check(self, simulators: int, *, is_recurrent: bool) -> None:
        """See `AlgorithmSettings.check`."""
        if is_recurrent and self.minibatches > simulators:
            raise UserError(
                f"minibatches {self.minibatches} is too many for {simulators} simulators: a "
                f"recurrent network's are whole simulators; use at most as many"
            )
        samples = self.rollout_steps * simulators
        if self.minibatches * self._least > samples:
            raise UserError(
                f"minibatches {self.minibatches} is too many for {samples} agent steps an update "
                f"(rollout_steps {self.rollout_steps} x simulators {simulators}): each needs "
                f"{self._least} or more"
            )

    @property
    def _least(self) -> int:
        """Agent steps that a minibatch has at least: one alone has no deviation."""
        return 2 if self.normalize_advantages else 1


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
        "actor processes per learner, each with its share of the learner's simulators",
        unset="one per core, less one for learning",
        minimum=1,
        maximum=1000,
    )
    actor_slots: int = setting(
        2,
        "rollouts per actor that may be queued or in use before the actor waits",
        minimum=1,
        maximum=100,
    )
    batch_rollouts: int | None = setting(
        None,
        "rollouts of actors per update",
        unset="as many as there are actors",
        minimum=1,
    )
    clip_rho: float = setting(1.0, "ρ̄ of V-trace: largest weight of an error", above=0)
    clip_c: float = setting(1.0, "c̄ of V-trace: largest weight of a trace", above=0)

    def simulators(self, published: int) -> int:
        """See `AlgorithmSettings`: the next number that the actors can share equally."""
        actors = self.actors or 1
        return -(-published // actors) * actors

    def resolved(self, shared: int, cores: int) -> Self:
        """See `AlgorithmSettings`: an actor a core but the learner's, if they divide all."""
        most = max(1, min(cores - 1, shared))
        divisor = next(n for n in range(most, 0, -1) if shared % n == 0)
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
        metavar="NAME|FILE",
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
        "updates without a mix after which a learner waits for live neighbours",
        unset="never",
        minimum=0,
    )
    deadline: float = setting(
        2.0,
        "longest wait for a silent neighbour before going on without it",
        above=0,
        metavar="SECONDS",
    )
