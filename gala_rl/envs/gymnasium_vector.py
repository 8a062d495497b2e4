"""Simulators of an environment that Gymnasium registers with a vectorised implementation."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.actions import ActionDecoder, action_spec
from gala_rl.envs.arguments import check_arguments
from gala_rl.envs.batches import BatchEncoder
from gala_rl.envs.guard import close_environment
from gala_rl.envs.ids import find_spec
from gala_rl.envs.make import check_spaces
from gala_rl.envs.simulators import (
    EpisodeCounter,
    Transition,
    environment_seed,
    fail_as_one,
    random_actions,
    stagger_generator,
)
from gala_rl.envs.validation import RESET, STEP, InvalidStep, as_flags, as_rewards, unpacked
from gala_rl.errors import UserError
from gala_rl.imports import describe
from gala_rl.processes.heartbeat import beat


class GymnasiumVectorSimulators:
    """B copies of one environment that step together; see `Simulators` for methods and attributes.

    An implementation that resets in the step after an end ignores that step's action: see
    `Transition.truncated`. If one raises, all copies are lost with it: that ends the learner, which
    is restarted.

    Args:
        source: its name without prefix is a Gymnasium id that has a vector entry point.
        count: B.

    Raises:
        UserError: when the environment cannot be built, or no network here can take its spaces.
        SimulatorFailure: from `reset` and `recv`, when the environment raises.
    """

    def __init__(self, source: EnvironmentSource, count: int) -> None:
        self.count = count
        self.groups = (slice(0, count),)
        self.frames_per_step = 1
        self.failures = 0  # Always 0: one that raises takes all others with it.
        self._name = source.env
        self._env = make_vector_environment(source, count)
        self._mode: Any = self._env.metadata["autoreset_mode"]
        self.resets_on_next_step = self._mode is AutoresetMode.NEXT_STEP
        self._encode = BatchEncoder(self._env.single_observation_space, source.env)
        self.observation = self._encode.spec
        self.action = action_spec(self._env.single_action_space, source.env)
        self._decode = ActionDecoder(self._env.single_action_space)
        self._counter = EpisodeCounter(count)
        self._ended = np.zeros(count, dtype=np.bool_)
        self._actions: NDArray[Any] = np.zeros(0)

    def reset(self, seed: int, stagger: int = 0) -> NDArray[Any]:
        """See `Simulators`. All play `stagger` random steps: they cannot be reset one by one."""
        with fail_as_one(self._name, "reset"):
            answer = unpacked(self._env.reset(seed=environment_seed(seed)), *RESET)
            observations = self._encode(answer[0], self.count)
        self._ended[:] = False
        rng = stagger_generator(seed)
        for _ in range(stagger):
            observations = self.step(random_actions(self.action, self.count, rng)).observations
            beat()
        self._counter = EpisodeCounter(self.count)
        return observations

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """See `Simulators`."""
        self._actions = actions

    def step(self, actions: NDArray[Any]) -> Transition:
        """See `Simulators`."""
        self.send(actions)
        return self.recv()

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators`."""
        with fail_as_one(self._name, "step"):
            return self._step()

    def _step(self) -> Transition:
        answer = unpacked(self._env.step(self._decode.batch(self._actions)), *STEP)
        observations = self._encode(answer[0], self.count)
        rewards = as_rewards(answer[1], self.count)
        terminated = as_flags(answer[2], self.count, "terminated")
        truncated = as_flags(answer[3], self.count, "truncated")
        truncated = truncated & ~terminated
        ended = terminated | truncated
        finals = None
        if truncated.any():
            finals = self._finals(observations, truncated, answer[4])
        if self.resets_on_next_step:
            resets, self._ended = self._ended, ended
            self._counter.agent_steps[resets] = -1  # This step belongs to no episode.
            terminated, truncated = terminated | resets, truncated | resets
            rewards = np.where(resets, np.float32(0.0), rewards)
        elif self._mode is AutoresetMode.DISABLED and ended.any():
            again = unpacked(self._env.reset(options={"reset_mask": ended}), *RESET)
            observations = self._encode(again[0], self.count)
        episodes = self._counter.add(rewards, ended)
        return Transition(observations, rewards, terminated, truncated, finals, episodes)

    def _finals(
        self, observations: NDArray[Any], truncated: NDArray[np.bool_], info: dict[str, Any]
    ) -> NDArray[Any]:
        """Return [B, ...]: rows of cut episodes hold their last observation, others anything."""
        if self._mode is not AutoresetMode.SAME_STEP:
            return observations.copy()
        if not isinstance(info, dict) or "final_obs" not in info:
            raise InvalidStep("info has no 'final_obs', as an end with a reset in its step needs")
        finals = np.zeros_like(observations)
        for i in np.flatnonzero(truncated):
            finals[i] = self._encode.one(_row(info["final_obs"], int(i)))
        return finals

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """Return None: Gymnasium's vector environments cannot save their state."""
        return None

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Raise a ValueError, since no state was saved."""
        raise ValueError("a vector environment has no saved state to continue from")

    def close(self) -> None:
        """See `Simulators`."""
        close_environment(self._env, self._name)


def make_vector_environment(source: EnvironmentSource, count: int) -> VectorEnv[Any, Any, Any]:
    """Build an environment by its vector entry point.

    Raises:
        UserError: when it has none, an argument is not its own, or it cannot be built.
    """
    try:
        spec = find_spec(source.name)
    except UserError as error:
        raise UserError(f"env {source.env!r}: {str(error).removeprefix('env ')}") from error
    creator: Any = spec.vector_entry_point
    if not vector_ids([spec]):
        raise UserError(
            f"env {source.env!r}: {source.name} has no vectorised implementation; use {source.name}"
        )
    try:
        creator = load_env_creator(creator) if isinstance(creator, str) else creator
        check_arguments(source.env, creator, source.args, given=spec.kwargs, hidden=("num_envs",))
        args = dict(source.args)
        env = gymnasium.make_vec(spec, count, vectorization_mode="vector_entry_point", **args)
    except (UserError, KeyboardInterrupt):
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"env {source.env!r} needs a package that is missing: {error}") from error
    except BaseException as error:
        raise UserError(f"env {source.env!r} cannot be built: {describe(error)}") from error
    if not isinstance(env.metadata.get("autoreset_mode"), AutoresetMode):
        close_environment(env, source.env)
        raise UserError(
            f"env {source.env!r} does not say when it resets: metadata['autoreset_mode'] must be "
            f"one of {', '.join(map(str, AutoresetMode))}"
        )
    check_spaces(env, "single_observation_space", "single_action_space", name=source.env)
    return env


def vector_ids(specs: list[EnvSpec]) -> list[str]:
    """Return the ids of those entries that have a vector entry point, except games of ALE."""
    return [
        spec.id
        for spec in specs
        if spec.vector_entry_point is not None and "ale_py" not in str(spec.vector_entry_point)
    ]


def _row(final: Any, i: int) -> Any:
    """Return the final observation of one simulator, from parts or a batch of all simulators."""
    if isinstance(final, dict):
        return {key: _row(value, i) for key, value in final.items()}
    if isinstance(final, tuple):
        return tuple(_row(value, i) for value in final)
    return final[i]
