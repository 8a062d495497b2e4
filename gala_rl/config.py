"""Every choice a person can make, as frozen dataclasses; imports neither torch nor Gymnasium.

The command line, `config.json` and the Python API all read these same fields, so a default, its
unit and its source are written once, here.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gala_rl.errors import UserError

RULE_SIMULATORS = 16
"""Number of simulators at which the learning rate is taken as given (papers: 16)."""

_MAX_DIGITS = 18


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
class A2CSettings:
    """Advantage actor-critic (Mnih et al. 2016, synchronous form; values of GALA, 2019)."""

    rollout_steps: int = setting(
        5, "agent steps a simulator makes per update (n of n-step)", minimum=1
    )
    discount: float = setting(0.99, "γ, discount a step", minimum=0, maximum=1)
    value_cost: float = setting(0.5, "weight of the mean squared value error", minimum=0)
    entropy_cost: float = setting(0.01, "weight of the policy's entropy", minimum=0)
    max_grad_norm: float = setting(0.5, "clip the gradient to this Euclidean norm", above=0)
    learning_rate: float = setting(7e-4, "learning rate for 16 simulators in all", above=0)
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


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run, complete: with the code's version it determines what happens."""

    method: str = setting("gala-a2c", "what to train; `gala methods` lists them")
    env: str = setting("PongNoFrameskip-v4", "Gymnasium id of the environment")
    steps: int = setting(
        40_000_000, "agent steps over all learners; 4000000, 4e6 and 4M are the same", minimum=1
    )
    learners: int | None = setting(
        None,
        "number of actor-learners; default: what the method runs best here",
        minimum=1,
        maximum=10_000,
    )
    simulators: int = setting(16, "simulators a learner", minimum=1)
    simulator_threads: int | None = setting(
        None, "simulator threads a learner; default: cores / learners", minimum=1
    )
    simulator_groups: int | None = setting(
        None,
        "groups of a learner's simulators that step in turn, while the network acts for another "
        "(Atari); default: 2 with a GPU, else 1",
        minimum=1,
    )
    precision: Literal["float32", "bfloat16"] = setting(
        "float32",
        "of the torso's arithmetic; bfloat16 is faster where the processor has units for it. "
        "Parameters, losses and gossip are always float32",
    )
    seed: int = setting(0, "root of every random stream of the run", minimum=0, maximum=2**31 - 1)
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto: cuda where there is one")
    serial: bool = setting(
        False, "all learners take turns in one process: slower, deterministic, easy to debug"
    )
    out: str | None = setting(None, "folder of the run; default: runs/METHOD-ENV-DATE")
    log_every: int = setting(100, "updates of a learner between two rows of metrics", minimum=1)
    checkpoint_every: float = setting(300.0, "seconds between checkpoints", above=0)
    checkpoints_kept: int = setting(3, "number of newest checkpoints that stay on disk", minimum=1)
    max_restarts: int = setting(
        3, "a learner that dies more often than this without progress ends the run", minimum=0
    )
    hang_after: float = setting(
        120.0, "seconds without an update after which a learner is killed and restarted", above=0
    )
    atari: AtariProtocol = field(default_factory=AtariProtocol)
    a2c: A2CSettings = field(default_factory=A2CSettings)
    gossip: GossipSettings = field(default_factory=GossipSettings)

    @property
    def total_simulators(self) -> int:
        """Simulators of all learners together; `learners` must be resolved."""
        return self.simulators * self.resolved_learners

    @property
    def resolved_learners(self) -> int:
        """`learners`, once a method has filled it in."""
        if self.learners is None:
            raise ValueError("learners is not resolved yet: see gala_rl.methods.resolve")
        return self.learners

    @property
    def initial_learning_rate(self) -> float:
        """Learning rate at step 0 after `learning_rate_rule`."""
        rule = self.a2c.learning_rate_rule
        scale = math.sqrt(self.total_simulators / RULE_SIMULATORS) if rule == "sqrt" else 1.0
        return self.a2c.learning_rate * scale

    def learning_rate_at(self, agent_steps: int) -> float:
        """Learning rate once all learners together have made `agent_steps`."""
        if self.a2c.learning_rate_schedule == "constant":
            return self.initial_learning_rate
        return self.initial_learning_rate * max(0.0, 1.0 - agent_steps / self.steps)

    def threads_per_learner(self) -> int:
        """Threads each learner may keep busy: the machine's cores shared out, at least 1."""
        return max(1, usable_cores() // (1 if self.serial else self.resolved_learners))


def usable_cores() -> int:
    """Cores this process may run on (respects taskset and CPU sets)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_count(text: str) -> int:
    """A whole number written as 4000000, 4_000_000, 4e6 or 4M (k, M and G are powers of 1000).

    Raises:
        ValueError: when it is not a whole number.
    """
    suffixes = {"k": 10**3, "m": 10**6, "g": 10**9}
    scale = suffixes.get(text[-1:].lower(), 1)
    try:
        # Exact, unlike float: 1.001M is 1001000.
        number = Decimal(text[:-1] if scale > 1 else text) * scale
    except ArithmeticError as error:
        raise ValueError(f"{text!r} is not a number") from error
    if not number.is_finite() or number.adjusted() > _MAX_DIGITS or number % 1:
        raise ValueError(f"{text!r} is not a whole number")
    return int(number)


def check(config: Any, prefix: str = "") -> None:
    """Hold every field of a settings dataclass against its type and bounds.

    Raises:
        UserError: naming the first offending field, its value and what is allowed.
    """
    hints = get_type_hints(type(config))
    for entry in dataclasses.fields(config):
        value, name = getattr(config, entry.name), f"{prefix}{entry.name}"
        if dataclasses.is_dataclass(value):
            check(value, f"{name}.")
        else:
            _check_type(name, value, hints[entry.name])
            _check_bounds(name, value, entry.metadata)


def _check_type(name: str, value: Any, hint: Any) -> None:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            choices = ", ".join(map(str, get_args(hint)))
            raise UserError(f"{name} {value!r} is unknown: choose one of {choices}")
        return
    allowed = get_args(hint) or (hint,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join("none" if t is type(None) else t.__name__ for t in allowed)
        raise UserError(f"{name} {value!r} has the wrong type: it must be {names}")


def _check_bounds(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    if value is None or isinstance(value, str):
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} {value} is not finite: give a finite number")
    if "minimum" in bounds and value < bounds["minimum"]:
        raise UserError(f"{name} {value} is too small: it must be at least {bounds['minimum']}")
    if "above" in bounds and value <= bounds["above"]:
        raise UserError(f"{name} {value} is too small: it must be above {bounds['above']}")
    if "maximum" in bounds and value > bounds["maximum"]:
        raise UserError(f"{name} {value} is too large: it must be at most {bounds['maximum']}")


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The config as plain JSON values."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """The config that `to_dict` wrote; every field is checked.

    Raises:
        UserError: on an unknown field, a wrong type or a value out of bounds.
    """
    config: TrainConfig = _build(TrainConfig, values, "")
    check(config)
    return config


def _build(kind: Any, values: Mapping[str, Any], prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise UserError(f"config {prefix or 'file'} must be an object of settings, not {values!r}")
    known = {entry.name: entry for entry in dataclasses.fields(kind)}
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"config has an unknown setting {prefix}{unknown[0]!r}: remove it")
    arguments = {
        name: _build(hints[name], value, f"{name}.")
        if dataclasses.is_dataclass(hints[name])
        else value
        for name, value in values.items()
    }
    return kind(**arguments)


def default_run_folder(config: TrainConfig, stamp: str) -> Path:
    """Where a run goes when `out` is not given: runs/METHOD-ENV-STAMP."""
    return Path("runs") / f"{config.method}-{config.env.replace('/', '_')}-{stamp}"
