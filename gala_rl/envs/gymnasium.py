"""Simulators of any Gymnasium environment, stepped one after the other in the calling process."""

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.actions import ActionDecoder, action_spec
from gala_rl.envs.guard import GuardedEnvironment, close_environment
from gala_rl.envs.make import make_environment
from gala_rl.envs.observations import ObservationEncoder
from gala_rl.envs.randomness import get_generator_states, set_generator_states
from gala_rl.envs.simulators import (
    EpisodeCounter,
    Transition,
    random_actions,
    stagger_generator,
)
from gala_rl.envs.state_hooks import get_state, set_state
from gala_rl.processes.heartbeat import beat


class GymnasiumSimulators:
    """B copies of one environment; see `Simulators` for methods and attributes.

    A simulator that raises or returns an invalid answer is closed, rebuilt and counted as a
    failure; its episode ends truncated with the last observation it returned.

    Checkpoints include environments that have the hooks of `gala_rl.envs.state_hooks`.

    Args:
        source: the environment.
        count: B.
        first: index of the first simulator among all of its learner; part of its seeds.
        failures: [B] counts failures per simulator; default: an array of its own.
        failures_in_a_row: [B] counts failures since the last valid step.

    Attributes:
        environments: B guarded environments.

    Raises:
        UserError: when the environment cannot be built, or no network here can take its spaces.
        SimulatorFailure: from `reset` and `recv`, when a simulator fails too often in a row.
    """

    def __init__(
        self,
        source: EnvironmentSource,
        count: int,
        first: int = 0,
        failures: NDArray[np.int64] | None = None,
        failures_in_a_row: NDArray[np.int64] | None = None,
    ) -> None:
        self.count = count
        self.groups = (slice(0, count),)
        self.frames_per_step = 1
        self.resets_on_next_step = False
        self._first = first
        zeros = np.zeros((2, count), dtype=np.int64)
        self._failures = zeros[0] if failures is None else failures
        in_a_row = zeros[1] if failures_in_a_row is None else failures_in_a_row
        built = []
        with ExitStack() as close_on_failure:
            for _ in range(count):
                built.append(make_environment(source))
                close_on_failure.callback(close_environment, built[-1], source.env)
                beat()
            encode = ObservationEncoder(built[0].observation_space, source.env)
            self.action = action_spec(built[0].action_space, source.env)
            close_on_failure.pop_all()
        self.observation = encode.spec
        decode = ActionDecoder(built[0].action_space)
        self.environments = [
            GuardedEnvironment(
                source, first + i, env, encode, decode, self._failures[i:][:1], in_a_row[i:][:1]
            )
            for i, env in enumerate(built)
        ]
        dtype = np.uint8 if self.observation.is_image else np.float32
        self._observations = np.zeros((count, *self.observation.shape), dtype=dtype)
        self._counter = EpisodeCounter(count)
        self._actions: NDArray[Any] = np.zeros(0)

    @property
    def failures(self) -> int:
        """See `Simulators`."""
        return int(self._failures.sum())

    def reset(self, seed: int, stagger: int = 0) -> NDArray[Any]:
        """See `Simulators`."""
        self._counter = EpisodeCounter(self.count)
        for i, env in enumerate(self.environments):
            self._observations[i] = env.reset(seed)
            beat()
            if stagger:
                self._play_at_random(i, stagger_generator(seed, self._first + i), stagger)
        return self._observations.copy()

    def _play_at_random(self, i: int, rng: np.random.Generator, most: int) -> None:
        env = self.environments[i]
        for _ in range(rng.integers(most, endpoint=True)):
            answer = env.step(random_actions(self.action, 1, rng)[0])
            if answer is None or answer[2] or answer[3]:
                self._observations[i] = env.begin_episode()
            else:
                self._observations[i] = answer[0]
            beat()

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """See `Simulators`."""
        self._actions = actions

    def step(self, actions: NDArray[Any]) -> Transition:
        """See `Simulators`."""
        self.send(actions)
        return self.recv()

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators`."""
        rewards = np.zeros(self.count, dtype=np.float32)
        terminated = np.zeros(self.count, dtype=np.bool_)
        truncated = np.zeros(self.count, dtype=np.bool_)
        final_observations: NDArray[Any] | None = None
        for i, env in enumerate(self.environments):
            answer = env.step(self._actions[i])
            beat()
            if answer is None:
                truncated[i] = True
            else:
                self._observations[i], rewards[i], terminated[i], truncated[i] = answer
            if terminated[i] or truncated[i]:
                truncated[i] &= not terminated[i]
                if truncated[i]:
                    if final_observations is None:
                        final_observations = np.zeros_like(self._observations)
                    final_observations[i] = self._observations[i]
                self._observations[i] = env.begin_episode()
                beat()
        return Transition(
            observations=self._observations.copy(),
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            final_observations=final_observations,
            episodes=self._counter.add(rewards, terminated | truncated),
        )

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """See `Simulators`."""
        state = {
            "observations": self._observations.copy(),
            "scores": self._counter.scores.copy(),
            "agent_steps": self._counter.agent_steps.copy(),
            "generators": get_generator_states(),
        }
        for i, env in enumerate(self.environments):
            if (own := get_state(env.env)) is None:
                return None
            state |= {f"{i}.{key}": value for key, value in own.items()}
        return state

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """See `Simulators`."""
        self._observations = state["observations"].copy()
        self._counter.scores = state["scores"].copy()
        self._counter.agent_steps = state["agent_steps"].copy()
        for i, env in enumerate(self.environments):
            prefix = f"{i}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            set_state(env.env, own)
        # Last, since environments may have drawn random numbers meanwhile.
        set_generator_states(state["generators"])

    def close(self) -> None:
        """See `Simulators`."""
        for env in self.environments:
            env.close()
