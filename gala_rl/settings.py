"""What can be chosen about each part of a run, as frozen dataclasses with help, unit and source."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

EnvKind = Literal["atari", "discrete", "continuous"]
"""What the settings of papers depend on: an ALE game, or else the kind of its actions."""


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
    frame_skip: int = setting(4, "emulator frames an action is held (DQN, 2015)", minimum=1)
    max_pool: bool = setting(True, "pixel-wise maximum of the last two frames of a skip")
    frame_stack: int = setting(4, "consecutive images in one observation", minimum=1)
    image_size: int = setting(84, "height and width of an image, pixels", minimum=36)
    grayscale: bool = setting(True, "grey images instead of colour")
    noop_max: int = setting(30, "at most this many no-ops at the start of a game", minimum=0)
    fire_reset: bool = setting(True, "press FIRE at the start of a game that needs it")
    life_loss_terminal: bool = setting(
        True, "in training, a lost life ends the return; the game itself goes on"
    )
    clip_rewards: bool = setting(
        True, "in training, only the sign of a reward counts; reported returns are always raw"
    )
    full_action_space: bool = setting(False, "all 18 actions instead of the game's own")
    max_episode_frames: int = setting(
        108_000, "a game is truncated after this many emulator frames (30 minutes)", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class AlgorithmSettings:
    """What every actor-critic algorithm has; each sets its own values, from its own paper."""

    name: ClassVar[str]
    keeps_choices: ClassVar[bool] = False
    """Whether updates need log π and V as they were when the actor acted."""
    replays_activations: ClassVar[bool] = True
    """Whether the parameters that acted are those that learn, so that activations can be kept."""
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
    optimizer: Literal["rmsprop", "rmsprop-tf"] = setting(
        "rmsprop",
        "rmsprop: PyTorch's form, ε outside the root (GALA); "
        "rmsprop-tf: ε inside, accumulator starts at 1 (Baselines)",
    )
    rmsprop_decay: float = setting(
        0.99, "decay of the squared-gradient average", minimum=0, maximum=1
    )
    rmsprop_epsilon: float = setting(1e-5, "ε of RMSprop", above=0)

    def resolved(self, simulators: int, cores: int) -> Self:
        """With everything filled in that depends on a learner's simulators and cores."""
        return self

    def batch_simulators(self, simulators: int) -> int:
        """B of an update, given a learner's simulators: rollouts of so many go into it."""
        return simulators


@dataclass(frozen=True, kw_only=True)
class A2CSettings(AlgorithmSettings):
    """Advantage actor-critic (Mnih et al. 2016, synchronous form; values of GALA, 2019)."""

    name = "a2c"


@dataclass(frozen=True, kw_only=True)
class ImpalaSettings(AlgorithmSettings):
    """Actors ahead of their learner, corrected by V-trace (Espeholt et al. 2018, table G.1).

    The paper's losses are sums over the batch, and so are its bound on the gradient and its ε.
    `value_cost` is half its baseline cost, which is on half the squared error.
    """

    name = "impala"
    keeps_choices = True
    replays_activations = False
    rollout_steps: int = setting(20, "agent steps a simulator makes per rollout", minimum=1)
    value_cost: float = setting(0.25, "weight of the squared value error", minimum=0)
    max_grad_norm: float = setting(
        40.0, "clip the gradient, of sums over the batch, to this Euclidean norm", above=0
    )
    learning_rate: float = setting(6e-4, "learning rate, before learning_rate_rule", above=0)
    learning_rate_rule: Literal["sqrt", "constant"] = setting(
        "constant", "sqrt: times √(simulators of all learners / 16); constant: as given"
    )
    learning_rate_schedule: Literal["constant", "linear"] = setting(
        "linear", "linear: falls to 0 at the last agent step"
    )
    optimizer: Literal["rmsprop", "rmsprop-tf"] = setting(
        "rmsprop-tf", "rmsprop: ε outside the root; rmsprop-tf: ε inside, accumulator starts at 1"
    )
    rmsprop_epsilon: float = setting(0.01, "ε of RMSprop", above=0)
    actors: int | None = setting(
        None,
        "processes of a learner that act, each with its share of the learner's simulators; "
        "default: one a core of the learner's",
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
        """See `AlgorithmSettings`: as many actors as there are cores, if they divide simulators."""
        most = max(1, min(cores, simulators))
        divisor = next(n for n in range(most, 0, -1) if simulators % n == 0)
        actors = self.actors or divisor
        return replace(self, actors=actors, batch_rollouts=self.batch_rollouts or actors)

    def batch_simulators(self, simulators: int) -> int:
        """See `AlgorithmSettings`."""
        assert self.actors is not None
        assert self.batch_rollouts is not None
        return simulators // self.actors * self.batch_rollouts


ALGORITHMS: Mapping[str, type[AlgorithmSettings]] = {
    settings.name: settings for settings in (A2CSettings, ImpalaSettings)
}
"""By name, as in `config.json`."""


@dataclass(frozen=True, kw_only=True)
class GossipSettings:
    """How learners average their parameters; without effect with one learner."""

    topology: str = setting(
        "directed-ring",
        "directed-ring, undirected-ring, exponential, rotating-exponential, complete, "
        "or a JSON file of [sender, receiver] edges",
    )
    when: Literal["all", "any"] = setting(
        "all", "mix when all in-neighbours have news (GALA, Algorithm 1) or when any has"
    )
    mix_optimizer: bool = setting(
        False, "average RMSprop's statistics too; the paper averages parameters alone"
    )
    max_staleness: int | None = setting(
        None,
        "wait for live neighbours after this many updates without a mix; default: never",
        minimum=0,
    )
    deadline: float = setting(
        2.0, "seconds: longest wait for a silent neighbour before going on without it", above=0
    )
