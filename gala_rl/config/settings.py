"""Settings of each part of a run, as frozen dataclasses with help, unit and source."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from gala_rl.config.graphs import Graph, graph_text, is_graph
from gala_rl.config.names import function_name
from gala_rl.spaces import ObservationSpec

LearningRateRule = Literal["sqrt", "linear", "constant"]
"""How the learning rate follows the number of learners and of their simulators."""

_INT32 = 2**31 - 1
"""The emulator counts in 32 bits."""


def setting(
    default: Any,
    text: str,
    *,
    unset: str = "",
    metavar: str = "",
    flag: str = "",
    names: Collection[str] = (),
    **bounds: float,
) -> Any:
    """Define a dataclass field with its help text and, optionally, its bounds.

    Args:
        default: value if none is given.
        text: what the setting does.
        unset: what the default None means.
        metavar: name of the value in help; by default it follows from the type.
        flag: command-line option; by default it follows from the name.
        names: the only values, except for names of functions, module:function; default: any.
        bounds: `minimum`, `above`, `maximum`.
    """
    metadata: dict[str, Any] = {"help": text, "unset": unset, "metavar": metavar, "flag": flag}
    metadata |= {"names": names, **bounds}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class AtariProtocol:
    """Preprocessing of Atari games; other environments accept only the defaults."""

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
    noop_max: int = setting(
        30, "maximum number of no-ops at the start of a game", minimum=0, maximum=_INT32
    )
    fire_reset: bool = setting(True, "press FIRE at the start of a game that needs it")
    life_loss_terminal: bool | None = setting(
        None,
        "in training, a lost life ends the return; the game itself goes on",
        unset="yes, but not for r2d2",
    )
    clip_rewards: bool | None = setting(
        None,
        "in training, only the sign of a reward counts; reported returns are always raw",
        unset="yes, but not for r2d2",
    )
    full_action_space: bool = setting(False, "all 18 actions instead of the game's own")
    max_episode_frames: int = setting(
        108_000,
        "a game is truncated after this many emulator frames (30 minutes)",
        minimum=1,
        maximum=_INT32,
        metavar="FRAMES",
    )

    @property
    def ends_at_life_loss(self) -> bool:
        """Whether a lost life ends the return in training."""
        return self.life_loss_terminal is not False

    @property
    def clips_rewards(self) -> bool:
        """Whether only the sign of a reward counts in training."""
        return self.clip_rewards is not False


@dataclass(frozen=True, kw_only=True)
class AlgorithmSettings:
    """Settings of all algorithms; each algorithm sets its paper's values."""

    name: ClassVar[str]
    """Name of the algorithm in `config.json`."""
    learner: ClassVar[str]
    """Module whose `make_learner` builds the learner; a name, since it imports PyTorch."""
    needs_behaviour: ClassVar[bool] = False
    """Whether updates need log π and V of the behaviour policy, which acted."""
    acts_in_processes: ClassVar[bool] = False
    """Whether a learner has actor processes, unless the run is serial."""
    draws_in_updates: ClassVar[bool] = False
    """Whether updates draw random numbers, so that a checkpoint has their generator's state."""
    learns_action_values: ClassVar[bool] = False
    """Whether the network predicts Q(x, a), from which ε-greedy actors choose their actions."""
    rollout_steps: int = setting(5, "agent steps per simulator and update", minimum=1)
    discount: float = setting(0.99, "γ, discount per agent step", minimum=0, maximum=1)
    max_grad_norm: float = setting(0.5, "Euclidean norm to which the gradient is clipped", above=0)
    learning_rate: float = setting(7e-4, "learning rate, before --learning-rate-rule", above=0)
    learning_rate_rule: LearningRateRule = setting(
        "sqrt",
        "sqrt: multiplied by √(simulators of all learners / 16); linear: multiplied by learners x "
        "√(simulators of one learner / 16); constant: as given",
    )
    learning_rate_schedule: Literal["constant", "linear"] = setting(
        "constant", "linear: falls to 0 at the last agent step"
    )
    bias_correction: bool = setting(
        False,
        "with several learners and --optimizer rmsprop, whose average of squares starts at 0: "
        "multiply the learning rate of update k by √(1 - decay^k), but at least 1/√learners; "
        "without it, first steps are ten times as long as later ones",
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

    @property
    def actor_count(self) -> int:
        """Actors that share a learner's simulators: its actor processes, or 1 for itself."""
        return 1

    @property
    def slots_per_actor(self) -> int:
        """Rollouts per actor process that may be queued or in use before the actor waits."""
        return 0

    @property
    def support(self) -> tuple[int, float, float] | None:
        """Atoms of a network that predicts distributions: number, lowest, highest; None: Q."""
        return None

    def epsilon_at(self, progress: float) -> float | None:
        """Return the ε of all actors after this share of the run; None: each has its own."""
        return None

    def replay_bytes(
        self, simulators: int, observation: ObservationSpec, *, frame_stack: int, state_size: int
    ) -> int:
        """Return the memory of a learner's replay; 0 without one.

        Args:
            simulators: simulators of the learner.
            observation: spec of an observation.
            frame_stack: images in an observation, of which all but the last were seen before.
            state_size: S of the network.
        """
        return 0

    @property
    def steps_before_learning(self) -> float:
        """Agent steps that a learner collects before it can make its first gradient step."""
        return 0.0

    @property
    def saves_replay(self) -> bool:
        """Whether checkpoints have the learners' replays."""
        return False

    @property
    def normalizes_observations(self) -> bool:
        """Whether the network normalises vectors by their running moments."""
        return False

    @property
    def normalizes_rewards(self) -> bool:
        """Whether rewards are divided by a running standard deviation."""
        return False

    @property
    def may_stop_early(self) -> bool:
        """Whether an update may end before its last gradient step, depending on its own data."""
        return False

    def simulators(self, published: int) -> int:
        """Return the default number of simulators per learner: as published, or close to it."""
        return published

    def fitted(
        self, simulators: int, given: Collection[str], *, is_recurrent: bool, has_pixels: bool
    ) -> Self:
        """Return settings whose preset values, except the given ones, are within their limits."""
        return self

    def resolved(self, shared: int, cores: int) -> Self:
        """Return settings with the values filled in that depend on simulators and cores."""
        return self

    def batch_simulators(self, simulators: int) -> int:
        """Return B of an update, the number of simulators whose rollouts it learns from."""
        return simulators

    def minibatch_size(self, agent_steps: int) -> int:
        """Return samples per gradient step, given the agent steps per update."""
        return agent_steps

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """Yield the settings that have no effect beside the others, and what makes them so."""
        yield from ()

    def check(self, simulators: int, *, is_recurrent: bool, is_serial: bool) -> None:
        """Raise a UserError if settings contradict each other or the rest of the config."""


@dataclass(frozen=True, kw_only=True)
class ActorCriticSettings(AlgorithmSettings):
    """Settings of all algorithms with a policy and a value function."""

    value_cost: float = setting(0.5, "coefficient of the mean squared value error", minimum=0)
    entropy_cost: float = setting(0.01, "coefficient of the policy's entropy", minimum=0)
    normalize_observations: bool = setting(
        False, "subtract their running mean from vectors and divide by their standard deviation"
    )
    normalize_rewards: bool = setting(
        False,
        "divide rewards by the running standard deviation of their discounted sum; "
        "reported returns are always raw",
    )

    @property
    def normalizes_observations(self) -> bool:
        """See `AlgorithmSettings.normalizes_observations`."""
        return self.normalize_observations

    @property
    def normalizes_rewards(self) -> bool:
        """See `AlgorithmSettings.normalizes_rewards`."""
        return self.normalize_rewards

    def fitted(
        self, simulators: int, given: Collection[str], *, is_recurrent: bool, has_pixels: bool
    ) -> Self:
        """See `AlgorithmSettings.fitted`."""
        if has_pixels and "normalize_observations" not in given:
            return replace(self, normalize_observations=False)
        return self


def with_default(default: Any, name: str, of: type[AlgorithmSettings] = ActorCriticSettings) -> Any:
    """Redefine the field `name` of other settings with another default."""
    return field(default=default, metadata=of.__dataclass_fields__[name].metadata)


@dataclass(frozen=True, kw_only=True)
class GossipSettings:
    """Settings of gossip averaging, for methods whose learners gossip."""

    topology: str | Callable[[int], Any] | Graph = setting(
        "directed-ring",
        "directed-ring, undirected-ring, exponential, rotating-exponential, complete, "
        "hierarchical (with --learners-per-node), a JSON file of [sender, receiver] edges, or a "
        "function from the number of learners to edges: docs/theory.md",
        metavar="NAME|FILE|MODULE:FUNCTION",
    )
    when: Literal["auto", "all", "any"] = setting(
        "auto",
        "mix when all in-neighbours have news (GALA, Algorithm 1) or when any has; "
        "auto: any if hierarchical, else all",
    )
    mix_optimizer: bool = setting(
        False, "average the optimiser's state too; the paper averages parameters only"
    )
    max_staleness: int | None = setting(
        None,
        "updates without a mix after which a learner waits for live neighbours",
        unset="never",
        minimum=0,
    )
    deadline: float = setting(
        2.0,
        "longest wait for a silent neighbour before continuing without it",
        above=0,
        metavar="SECONDS",
    )

    def __post_init__(self) -> None:
        """Replace a function by its name, and a graph of networkx by the text of its edges.

        Raises:
            UserError: when other processes cannot import the function, or a node is no learner.
        """
        if is_graph(self.topology):
            object.__setattr__(self, "topology", graph_text(self.topology))
        elif callable(self.topology):
            object.__setattr__(self, "topology", function_name(self.topology, "topology"))

    @property
    def topology_name(self) -> str:
        """The topology as text: its name, a path, module:function, or edges as JSON."""
        return str(self.topology)
