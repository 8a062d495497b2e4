"""Making simulators: ALE games through ALE's C++ vector environment, all else through Gymnasium."""

from gala_rl.envs.atari import AtariSimulators, observation_spec, parse_id
from gala_rl.envs.guard import close_environment
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.envs.make import make_environment, specs_of
from gala_rl.envs.processes import SimulatorProcesses
from gala_rl.envs.simulators import Episode as Episode
from gala_rl.envs.simulators import Simulators as Simulators
from gala_rl.envs.simulators import Transition as Transition
from gala_rl.settings import AtariProtocol, EnvKind
from gala_rl.spaces import ActionSpec, ObservationSpec


def kind_of(env_id: str) -> EnvKind:
    """The kind of an environment.

    Raises:
        UserError: if `make_simulators` would.
    """
    if is_atari(env_id):
        return "atari"
    _, action = _specs_of(env_id)
    return "discrete" if action.is_discrete else "continuous"


def is_atari(env_id: str) -> bool:
    """Whether the id is that of an ALE game, which C++ threads step."""
    return parse_id(env_id) is not None


def make_simulators(
    env_id: str,
    count: int,
    threads: int,
    protocol: AtariProtocol,
    *,
    training: bool = True,
    groups: int = 1,
    processes: int | None = None,
    deadline_s: float = 20.0,
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
        deadline_s: after which a process that has not made its step is replaced.

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
        return SimulatorProcesses(env_id, count, processes, deadline_s)
    return GymnasiumSimulators(env_id, count)


def check_environment(env_id: str, protocol: AtariProtocol) -> ObservationSpec:
    """What an environment shows, without building the simulators.

    Raises:
        UserError: if `make_simulators` would.
    """
    if is_atari(env_id):
        return observation_spec(protocol)
    observation, _ = _specs_of(env_id)
    return observation


def _specs_of(env_id: str) -> tuple[ObservationSpec, ActionSpec]:
    env = make_environment(env_id)
    try:
        return specs_of(env, env_id)
    finally:
        close_environment(env, env_id)
