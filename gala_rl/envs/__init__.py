"""Builds simulators by the name of their environment, with the backend that its prefix says.

Start with `simulators.py` for the interface that actors use, then `gymnasium.py` or `atari.py`.
"""

import logging

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.train import TrainConfig
from gala_rl.envs.arguments import episode_limit
from gala_rl.envs.atari import AtariSimulators, action_spec, observation_spec
from gala_rl.envs.guard import close_environment
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.envs.ids import atari_game
from gala_rl.envs.make import make_environment, space_specs
from gala_rl.envs.observations import ObservationEncoder
from gala_rl.envs.randomness import seed_generators as seed_generators
from gala_rl.envs.randomness import seeded_generators as seeded_generators
from gala_rl.envs.simulators import Episode as Episode
from gala_rl.envs.simulators import Simulators as Simulators
from gala_rl.envs.simulators import Transition as Transition
from gala_rl.envs.trial import play, play_apart
from gala_rl.envs.workers import SimulatorProcesses
from gala_rl.envs.workers import WorkerTimeouts as WorkerTimeouts
from gala_rl.errors import UserError
from gala_rl.imports import preserve_working_directory as preserve_working_directory
from gala_rl.spaces import Backend, EnvironmentSpec

_TIMEOUTS = WorkerTimeouts()

_log = logging.getLogger(__name__)


def read_environment(source: EnvironmentSource) -> EnvironmentSpec:
    """Return the specs of an environment, read off an instance that is built and closed again.

    Raises:
        UserError: as `make_simulators`.
    """
    episode_limit(source)  # Checked first, since some backends take any value and fail later.
    with seeded_generators(0), preserve_working_directory():
        backend = backend_of(source)
        if backend == "ale":
            return _read_atari(source)
        if backend == "gymnasium":
            return _read_gymnasium(source)
        _reject_wrappers(source)
        simulators = _tried(source, backend)
        return EnvironmentSpec(
            "atari" if is_atari(source) else simulators.action.kind,
            backend,
            simulators.observation,
            simulators.action,
            simulators.frames_per_step,
        )


def _tried(source: EnvironmentSource, backend: Backend) -> Simulators:
    """Return closed simulators of a vector environment, which have been played where they may fail.

    Two simulators tell an axis of one number from that of simulators.
    """
    if backend == "envpool" and source.args:
        from gala_rl.envs.envpool import check_options

        check_options(source)
        play_apart(source)
    simulators = make_simulators(source, 2, 1)
    if backend == "gym-vec":
        play(simulators, 1)
    else:
        simulators.close()
    return simulators


def _read_atari(source: EnvironmentSource) -> EnvironmentSpec:
    game, protocol = atari_game(source.env), source.atari
    assert game is not None
    _reject_wrappers(source)
    if source.args:
        raise UserError(
            f"env {source.env!r} takes no argument {next(iter(source.args))!r}: Atari games have "
            f"options of their own, see gala train --help"
        )
    action = action_spec(game, protocol)
    return EnvironmentSpec("atari", "ale", observation_spec(protocol), action, protocol.frame_skip)


def _read_gymnasium(source: EnvironmentSource) -> EnvironmentSpec:
    env_id = source.env
    way = f"; for the traceback: python -c \"import gymnasium; gymnasium.make('{env_id}')\""
    # What a program registers itself is not known to another.
    is_elsewhere = ":" in env_id and source.prefix is None
    env = make_environment(source, advice=way if is_elsewhere else "")
    try:
        observation, action = space_specs(env, env_id)
        if left_out := ObservationEncoder(env.observation_space, env_id).left_out:
            _log.warning("%s: text is not learned from: %s left out", env_id, ", ".join(left_out))
    finally:
        close_environment(env, env_id)
    return EnvironmentSpec(action.kind, "gymnasium", observation, action, 1)


def _reject_wrappers(source: EnvironmentSource) -> None:
    if source.wrappers:
        raise UserError(
            f"wrap {source.wrappers[0]!r} cannot be applied to env {source.env!r}, whose "
            f"simulators are one vector environment: leave it out, or give --env "
            f"make:module:function"
        )


def backend_of(source: EnvironmentSource) -> Backend:
    """Return what steps the simulators of an environment.

    Raises:
        UserError: when a Gymnasium id does not exist.
    """
    match source.prefix:
        case None:
            return "gymnasium" if atari_game(source.env) is None else "ale"
        case "make":
            return "gymnasium"
        case "pgx" | "jax":
            return "jax"
        case "gym-vec" | "envpool":
            return source.prefix


def is_atari(source: EnvironmentSource) -> bool:
    """Return whether an environment is an Atari game, to which `AtariProtocol` applies.

    Raises:
        UserError: when the name is unknown.
    """
    if source.prefix == "envpool":
        from gala_rl.envs import envpool

        return envpool.is_atari(source)
    return backend_of(source) == "ale"


def worker_timeouts(config: TrainConfig) -> WorkerTimeouts:
    """Return the timeouts of a run's simulator processes."""
    step_s = config.simulator_deadline or min(_TIMEOUTS.step_s, config.hang_after / 4)
    return WorkerTimeouts(step_s, config.hang_after)


def make_simulators(
    source: EnvironmentSource,
    count: int,
    threads: int,
    *,
    training: bool = True,
    groups: int = 1,
    processes: int | None = None,
    timeouts: WorkerTimeouts = _TIMEOUTS,
) -> Simulators:
    """Build simulators of an environment.

    Args:
        source: the environment.
        count: number of simulators.
        threads: C++ threads per group that step them (ALE and EnvPool only).
        training: False: play whole games and report raw rewards.
        groups: number of groups that step independently (ALE only).
        processes: number of processes that share the simulators; None: simulators run in this
            process (Gymnasium only).
        timeouts: timeouts of these processes.

    Raises:
        UserError: when the name is unknown or the environment cannot be used.
    """
    backend = backend_of(source)
    if groups > 1 and backend != "ale":
        raise ValueError(f"{groups} groups: only ALE's games step beside the network")
    if processes is not None and backend != "gymnasium":
        raise ValueError(f"{processes} processes: simulators of {backend} step together")
    # Imported where they are used, since most users have only some of their packages.
    match backend:
        case "ale":
            return AtariSimulators(source, count, threads, training, groups)
        case "envpool":
            from gala_rl.envs.envpool import EnvPoolSimulators

            return EnvPoolSimulators(source, count, threads, training)
        case "gym-vec":
            from gala_rl.envs.gymnasium_vector import GymnasiumVectorSimulators

            return GymnasiumVectorSimulators(source, count)
        case "jax":
            from gala_rl.envs.jax import JaxSimulators

            return JaxSimulators(source, count)
        case "gymnasium" if processes is not None:
            return SimulatorProcesses(source, count, processes, timeouts)
        case _:
            return GymnasiumSimulators(source, count)
