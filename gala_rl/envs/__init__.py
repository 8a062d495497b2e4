"""Builds simulators by Gymnasium id: Atari games in C++ threads, all others through Gymnasium.

Start with `simulators.py` for the interface that actors use, then `gymnasium.py` or `atari.py`.
"""

from gala_rl.config.settings import AtariProtocol
from gala_rl.config.train import TrainConfig
from gala_rl.envs.atari import AtariSimulators, action_spec, observation_spec
from gala_rl.envs.guard import close_environment
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.envs.ids import atari_game
from gala_rl.envs.ids import preserve_working_directory as preserve_working_directory
from gala_rl.envs.make import make_environment, space_specs
from gala_rl.envs.randomness import seed_generators as seed_generators
from gala_rl.envs.randomness import seeded_generators as seeded_generators
from gala_rl.envs.simulators import Episode as Episode
from gala_rl.envs.simulators import Simulators as Simulators
from gala_rl.envs.simulators import Transition as Transition
from gala_rl.envs.workers import SimulatorProcesses
from gala_rl.envs.workers import WorkerTimeouts as WorkerTimeouts
from gala_rl.spaces import EnvironmentSpec

_TIMEOUTS = WorkerTimeouts()


def read_environment(env_id: str, protocol: AtariProtocol) -> EnvironmentSpec:
    """Return the specs of an environment, read off an instance that is built and closed again.

    Raises:
        UserError: as `make_simulators`.
    """
    if (game := atari_game(env_id)) is not None:
        action = action_spec(game, protocol)
        return EnvironmentSpec("atari", observation_spec(protocol), action, protocol.frame_skip)
    way = f"; for the traceback: python -c \"import gymnasium; gymnasium.make('{env_id}')\""
    with seeded_generators(0), preserve_working_directory():
        # What a program registers itself is not known to another.
        env = make_environment(env_id, advice=way if ":" in env_id else "")
        try:
            observation, action = space_specs(env, env_id)
        finally:
            close_environment(env, env_id)
    return EnvironmentSpec(
        "discrete" if action.is_discrete else "continuous", observation, action, 1
    )


def is_atari(env_id: str) -> bool:
    """Return whether an id is that of an ALE game, which C++ threads step.

    Raises:
        UserError: when the id does not exist.
    """
    return atari_game(env_id) is not None


def worker_timeouts(config: TrainConfig) -> WorkerTimeouts:
    """Return the timeouts of a run's simulator processes."""
    step_s = config.simulator_deadline or min(_TIMEOUTS.step_s, config.hang_after / 4)
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
    timeouts: WorkerTimeouts = _TIMEOUTS,
) -> Simulators:
    """Build simulators of an environment.

    Args:
        env_id: Gymnasium id.
        count: number of simulators.
        threads: C++ threads per group that step them (Atari only).
        protocol: how an Atari game is presented.
        training: False: play whole games and report raw rewards.
        groups: number of groups that step independently (Atari only).
        processes: number of processes that share the simulators; None: simulators run in this
            process (all but Atari).
        timeouts: timeouts of these processes.

    Raises:
        UserError: when the id does not exist or the environment cannot be used.
    """
    if is_atari(env_id):
        if processes is not None:
            raise ValueError(f"{processes} processes: C++ threads step Atari games")
        return AtariSimulators(env_id, count, threads, protocol, training, groups)
    if groups > 1:
        raise ValueError(f"{groups} groups: only Atari games step beside the network")
    if processes is not None:
        return SimulatorProcesses(env_id, count, processes, timeouts)
    return GymnasiumSimulators(env_id, count)
