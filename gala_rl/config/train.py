"""Settings of a run: their checks, and their conversion to JSON and back; imports no torch.

The command line, `config.json` and the Python API read the same fields, so a default, its unit and
its source are written once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from reprlib import repr as short
from typing import Any, Literal, get_args, get_type_hints

from gala_rl.config.environment import EnvironmentSource, name_of
from gala_rl.config.fields import check
from gala_rl.config.names import function_name
from gala_rl.config.settings import AlgorithmSettings, AtariProtocol, GossipSettings, setting
from gala_rl.errors import UserError
from gala_rl.spaces import HIDDEN, Activation, NetworkKind, ObservationSpec
from gala_rl.suggestions import closest

NETWORKS = ("auto", *get_args(NetworkKind))
"""Values of `TrainConfig.network` that are no function's name."""

ATARI_STAGGER = 100
"""Default of `TrainConfig.stagger` for Atari games."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of a training run; those that are None are filled in when it starts."""

    method: str = setting("gala-a2c", "training method; `gala methods` lists them")
    env: str | Callable[..., Any] = setting(
        "PongNoFrameskip-v4",
        "environment: a Gymnasium id, or PREFIX:NAME of another backend, such as "
        "envpool:HalfCheetah-v4; `gala envs` lists them",
        metavar="ID",
    )
    env_args: Mapping[str, Any] = setting(
        {},
        "argument of the environment's constructor, such as max_episode_steps=1000. The value is "
        "read as JSON, or as text if it is not JSON. Repeat the option for more",
        metavar="KEY=VALUE",
        flag="--env-arg",
    )
    wrappers: tuple[str, ...] = setting(
        (),
        "function that wraps the environment of each simulator. Repeat the option for more, which "
        "are applied in order",
        metavar="MODULE:FUNCTION",
        flag="--wrap",
    )
    stagger: int | None = setting(
        None,
        "maximum number of random agent steps that each simulator plays before the first rollout, "
        "so that simulators are at different points of their episodes (Stooke and Abbeel, 2018)",
        unset=f"{ATARI_STAGGER} for Atari games, else 0",
        minimum=0,
        maximum=1_000_000,
    )
    preset: Literal["tuned", "paper"] = setting(
        "tuned",
        "settings that are not given; tuned: those that we chose by studies, also for the known "
        "environments of docs/settings.md; paper: those of the method's paper",
    )
    steps: int | None = setting(
        None,
        "agent steps of all learners together, such as 4000000, 4e6 or 4M",
        unset="40,000,000; fewer on the known environments of docs/settings.md",
        minimum=1,
    )
    stop_at: float | None = setting(
        None,
        "mean raw return of the last 100 full games of all learners at which the run ends early",
        unset="never",
        minimum=-1e30,
        metavar="SCORE",
    )
    patience: int | None = setting(
        None,
        "agent steps without a better mean return of the last 100 full games after which the run "
        "ends early; they count from the first 100 games",
        unset="unlimited",
        minimum=1,
        metavar="AGENT_STEPS",
    )
    evaluate_every: int | None = setting(
        None,
        "evaluate while the run trains, in a process of its own, after this many agent steps; 0: "
        "as often as 2 % of the cores' time allow",
        unset="no evaluation",
        minimum=0,
        metavar="AGENT_STEPS",
    )
    evaluate_episodes: int = setting(
        10,
        "games of such an evaluation with greedy actions, and as many with sampled ones",
        minimum=1,
        maximum=10_000,
    )
    learners: int | None = setting(
        None,
        "number of actor-learners",
        unset="the method's default for this machine",
        minimum=1,
        maximum=10_000,
    )
    learners_per_node: int | None = setting(
        None,
        "learners per node, for --topology hierarchical and --cluster; the last node may have "
        "fewer",
        unset="with --cluster the same on every machine",
        minimum=1,
    )
    max_learners: int | None = setting(
        None,
        "maximum number of learners for gala scale",
        unset="twice the initial number",
        minimum=1,
        maximum=10_000,
    )
    simulators: int | None = setting(
        None,
        "simulators (parallel environments) per learner, shared among its actors",
        unset="as in the method's paper",
        minimum=1,
    )
    simulator_threads: int | None = setting(
        None,
        "threads per learner that step its simulators (Atari)",
        unset="cores / learners",
        minimum=1,
        maximum=1_000,
    )
    network_threads: int | None = setting(
        None,
        "threads of a learner's network, and of each of its actors' networks",
        unset="one per 15 MFLOP of a forward pass, at most cores / learners",
        minimum=1,
        maximum=1_000,
    )
    simulator_groups: int | None = setting(
        None,
        "groups of a learner's simulators: one steps while the network acts for another (Atari)",
        unset="2 with a GPU, else 1",
        minimum=1,
    )
    simulator_processes: int | None = setting(
        None,
        "processes per learner that step its simulators; one that dies or hangs is replaced (all "
        "but Atari)",
        unset="the learner steps them itself",
        minimum=1,
    )
    simulator_deadline: float | None = setting(
        None,
        "time limit for a step of a simulator process, after which it is replaced",
        unset="20, or a quarter of --hang-after if that is less",
        above=0,
        metavar="SECONDS",
    )
    network: str | Callable[[ObservationSpec], Any] = setting(
        "auto",
        "torso for images; small: one convolution (MinAtar); shallow: three (DQN, GALA); deep: "
        "residual, 15 convolutions (IMPALA); auto: small below 36 pixels, else shallow. "
        "MODULE:FUNCTION: a function that builds the torso of any observation: docs/own-network.md",
        metavar="NAME|MODULE:FUNCTION",
        names=NETWORKS,
    )
    hidden: tuple[int, ...] = setting(
        HIDDEN, "units of each layer for vectors", minimum=1, maximum=65_536
    )
    activation: Activation = setting("tanh", "activation of the layers for vectors")
    shared_torso: bool | None = setting(
        None,
        "policy and value share a torso; --no-shared-torso: each has its own",
        unset="yes with images or an LSTM, else no",
    )
    lstm_size: int | None = setting(
        None,
        "units of an LSTM between torso and heads; 0: no LSTM",
        unset="0, but for r2d2 512 on Atari games and 128 elsewhere",
        minimum=0,
        maximum=8_192,
    )
    precision: Literal["float32", "bfloat16"] = setting(
        "float32",
        "precision of the torso's arithmetic; bfloat16 is faster on processors that support it. "
        "Parameters, losses and gossip are always float32",
    )
    init_from: str | None = setting(
        None,
        "run whose learners' averaged parameters all learners start from, running moments of "
        "normalisation included",
        unset="random parameters",
        metavar="RUN",
    )
    init_checkpoint: str = setting(
        "newest",
        "checkpoint of that run: best, newest or its agent steps",
        metavar="best|newest|STEP",
    )
    init_optimizer: bool = setting(False, "start with its optimizer's state too")
    seed: int = setting(0, "seed of every random stream of the run", minimum=0, maximum=2**31 - 1)
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "where networks run; auto: cuda if there is a GPU, else cpu"
    )
    serial: bool = setting(
        False, "all learners take turns in one process: slow, deterministic, easy to debug"
    )
    out: str | None = setting(
        None, "folder of the run", unset="runs/METHOD-ENV-DATE", metavar="DIR"
    )
    log_every: int | None = setting(
        None,
        "updates per learner between two rows of metrics",
        unset="a row after 8,000 agent steps, 100 updates or 2 s, whichever comes first",
        minimum=1,
    )
    log: tuple[Literal["csv", "wandb", "mlflow", "trackio"], ...] = setting(
        (),
        "also write metrics as a table (csv) or with the package of this name. Repeat the option "
        "for more: docs/logging.md",
        flag="--log",
    )
    checkpoint_every: float = setting(300.0, "time between checkpoints", above=0, metavar="SECONDS")
    checkpoints_kept: int = setting(3, "number of newest checkpoints to retain", minimum=1)
    max_restarts: int = setting(
        3,
        "maximum number of deaths of a learner without progress; after that the run ends",
        minimum=0,
    )
    hang_after: float = setting(
        120.0,
        "time without a sign of life (building, resetting or stepping a simulator) after which a "
        "learner or an actor is killed and restarted",
        above=0,
        maximum=1e9,
        metavar="SECONDS",
    )
    fault_plan: str | None = setting(
        None, "JSON file of faults to inject: docs/faults.md", metavar="FILE"
    )
    cluster: str | None = setting(
        None,
        "Ray cluster whose machines run the learners: docs/cluster.md",
        metavar="HOST:PORT|auto",
    )
    message_precision: Literal["float32", "bfloat16"] = setting(
        "float32",
        "precision of parameters sent to other machines; bfloat16 halves the traffic",
    )
    atari: AtariProtocol = field(default_factory=AtariProtocol)
    algorithm: AlgorithmSettings | None = None
    gossip: GossipSettings = field(default_factory=GossipSettings)

    def __post_init__(self) -> None:
        """Replace functions that build environments or networks by their names, a list by a tuple.

        Raises:
            UserError: when other processes cannot import such a function.
        """
        if callable(self.env):
            object.__setattr__(self, "env", name_of(self.env))
        if callable(self.network):
            object.__setattr__(self, "network", function_name(self.network, "network"))
        hidden: Any = self.hidden
        if isinstance(hidden, list):
            object.__setattr__(self, "hidden", tuple(hidden))

    @property
    def source(self) -> EnvironmentSource:
        """Everything that determines the environment."""
        return EnvironmentSource(
            env=str(self.env), args=self.env_args, wrappers=self.wrappers, atari=self.atari
        )


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Return the config as plain JSON values, with the name of its algorithm."""
    values = dataclasses.asdict(config)
    values |= {name: list(values[name]) for name in ("wrappers", "hidden", "log")}
    for entry in dataclasses.fields(config):
        if entry.metadata.get("is_read"):
            del values[entry.name]
    if config.algorithm is not None:
        values["algorithm"] = {"name": config.algorithm.name, **values["algorithm"]}
    return values


def from_dict(
    values: Mapping[str, Any], algorithms: Mapping[str, type[AlgorithmSettings]]
) -> TrainConfig:
    """Return the config that `to_dict` wrote, with every field checked.

    Args:
        values: JSON values.
        algorithms: settings of each algorithm, by its name.

    Raises:
        UserError: on an unknown field, a wrong type or a value out of bounds.
    """
    _check_object(values, "")
    plain = dict(values)
    algorithm = plain.pop("algorithm", None)
    config: TrainConfig = _build(TrainConfig, plain, "")
    if algorithm is not None:
        config = replace(config, algorithm=_build_algorithm(algorithm, algorithms))
    check(config)
    return config


def _build(kind: Any, values: Mapping[str, Any], prefix: str) -> Any:
    _check_object(values, prefix)
    known = {entry.name: entry for entry in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        guess = closest(unknown[0], known)
        remedy = "remove it" if guess is None else f"did you mean {guess}?"
        raise UserError(f"config has an unknown setting {prefix}{unknown[0]!r}: {remedy}")
    hints = get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            arguments[name] = _build(hints[name], value, f"{name}.")
        else:
            arguments[name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def _build_algorithm(
    values: Mapping[str, Any], algorithms: Mapping[str, type[AlgorithmSettings]]
) -> Any:
    _check_object(values, "algorithm.")
    settings = dict(values)
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in algorithms:
        raise UserError(f"algorithm.name {short(name)} is unknown: choose {', '.join(algorithms)}")
    return _build(algorithms[name], settings, "algorithm.")


def _check_object(values: Any, prefix: str) -> None:
    if not isinstance(values, Mapping):
        raise UserError(
            f"config {prefix or 'file'} must be an object of settings, not {short(values)}"
        )
