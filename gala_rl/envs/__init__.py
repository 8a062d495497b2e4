"""Making simulators: ALE games through ALE's C++ vector environment, all else through Gymnasium."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gala_rl.config.run import TrainConfig
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs.atari import AtariSimulators, action_spec, observation_spec
from gala_rl.envs.guard import close_environment
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.envs.ids import atari_game
from gala_rl.envs.ids import working_directory_kept as working_directory_kept
from gala_rl.envs.make import make_environment, specs_of
from gala_rl.envs.randomness import seed_generators as seed_generators
from gala_rl.envs.randomness import seeded_generators as seeded_generators
from gala_rl.envs.simulators import Episode as Episode
from gala_rl.envs.simulators import Simulators as Simulators
from gala_rl.envs.simulators import Transition as Transition
from gala_rl.envs.workers import SimulatorProcesses
from gala_rl.envs.workers import WorkerTimeouts as WorkerTimeouts
from gala_rl.spaces import EnvironmentSpec

_read: ContextVar[dict[tuple[str, AtariProtocol], EnvironmentSpec] | None] = ContextVar(
    "read", default=None
)

_LIMITS = WorkerTimeouts()


@contextmanager
def read_environments_once() -> Iterator[None]:
    """Have `read_environment` build each environment once, however often it is asked within.

    Afterwards all is forgotten: a program may change an environment between two runs.
    """
    token = _read.set({} if (known := _read.get()) is None else known)
    try:
        yield
    finally:
        _read.reset(token)


def read_environment(env_id: str, protocol: AtariProtocol) -> EnvironmentSpec:
    """What a run is set up by, read off one environment that is built for it and closed again.

    Raises:
        UserError: if `make_simulators` would.
    """
    known = {} if (within := _read.get()) is None else within
    key = env_id, protocol
    if key not in known:
        known[key] = _look_at(env_id, protocol)
    return known[key]


def _look_at(env_id: str, protocol: AtariProtocol) -> EnvironmentSpec:
    if (game := atari_game(env_id)) is not None:
        action = action_spec(game, protocol)
        return EnvironmentSpec("atari", observation_spec(protocol), action, protocol.frame_skip)
    way = f"; for the traceback: python -c \"import gymnasium; gymnasium.make('{env_id}')\""
    with seeded_generators(0), working_directory_kept():
        # What a program registers itself is not known to another.
        env = make_environment(env_id, advice=way if ":" in env_id else "")
        try:
            observation, action = specs_of(env, env_id)
        finally:
            close_environment(env, env_id)
    return EnvironmentSpec(
        "discrete" if action.is_discrete else "continuous", observation, action, 1
    )


def is_atari(env_id: str) -> bool:
    """Whether the id is that of an ALE game, which C++ threads step.

    Raises:
        UserError: when there is no such id.
    """
    return atari_game(env_id) is not None


def limits_of(config: TrainConfig) -> WorkerTimeouts:
    """Timeouts of a run's processes of simulators."""
    step_s = config.simulator_deadline or min(_LIMITS.step_s, config.hang_after / 4)
    return WorkerTimeouts(step_s, config.hang_after)


def make_simulators(
    env_id: str,
    count: int,
    threads: int,
    protocol: AtariProtocol,
    *,
    training: bool = True,
    groups: int = 1,
    processes: int | None = None,
    limits: WorkerTimeouts = _LIMITS,
) -> Simulators:
    """Simulators of an environment by its Gymnasium id.

    Args:
        env_id: Gymnasium id.
        count: how many.
        threads: C++ threads that step them, a group (Atari only).
        protocol: how an Atari game is presented.
        training: False reports whole games with raw rewards.
        groups: that step independently (Atari only).
        processes: of their own, among which simulators are shared out; None: in this process (all
            but Atari).
        limits: of the time that such a process may take.

    Raises:
        UserError: for an id that does not exist or cannot be used.
    """
    if is_atari(env_id):
        if processes is not None:
            raise ValueError(f"{processes} processes: C++ threads step Atari games")
        return AtariSimulators(env_id, count, threads, protocol, training, groups)
    if groups > 1:
        raise ValueError(f"{groups} groups: only Atari games step beside the network")
    if processes is not None:
        return SimulatorProcesses(env_id, count, processes, limits)
    return GymnasiumSimulators(env_id, count)
