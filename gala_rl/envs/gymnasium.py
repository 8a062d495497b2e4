"""Simulators of any Gymnasium environment, stepped one after the other in the learner's process."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala_rl.envs.actions import ActionDecoder
from gala_rl.envs.guard import GuardedEnvironment, close_environment
from gala_rl.envs.make import make_environment, specs_of
from gala_rl.envs.observations import ObservationEncoder
from gala_rl.envs.randomness import generators_state, restore_generators
from gala_rl.envs.simulators import EpisodeCounter, Transition
from gala_rl.envs.state_hooks import restore_state, state_of
from gala_rl.processes.heartbeat import beat


class GymnasiumSimulators:
    """B copies of one environment; see `Simulators` for methods and attributes.

    A simulator that raises, or returns what cannot be learned from, is closed and built anew: its
    episode ends as truncated with the last observation it gave, and is counted.

    An environment whose unwrapped class has the hooks of `gala_rl.envs.state_hooks` is saved in
    checkpoints.

    Args:
        env_id: Gymnasium id.
        count: B.
        first: index of the first of them, among all; of its seeds, too.
        failures: [B] where it is counted how often each was built anew; default: here.
        failures_in_a_row: [B] of these, since its last good step.

    Attributes:
        guards: B, around one environment each.

    Raises:
        UserError: when it cannot be built, or has spaces that no network here can take.
        SimulatorFailure: from `reset` and `recv`, when a simulator fails too often in a row.
    """

    def __init__(
        self,
        env_id: str,
        count: int,
        first: int = 0,
        failures: NDArray[np.int64] | None = None,
        failures_in_a_row: NDArray[np.int64] | None = None,
    ) -> None:
        self.count = count
        self.groups = (slice(0, count),)
        self.frames_per_step = 1
        zeros = np.zeros((2, count), dtype=np.int64)
        self._failures = zeros[0] if failures is None else failures
        in_a_row = zeros[1] if failures_in_a_row is None else failures_in_a_row
        environments = []
        try:
            for _ in range(count):
                environments.append(make_environment(env_id))
                beat()
            self.observation, self.action = specs_of(environments[0], env_id)
        except BaseException:
            for env in environments:
                close_environment(env, env_id)
            raise
        encode = ObservationEncoder(environments[0].observation_space, env_id)
        decode = ActionDecoder(environments[0].action_space)
        self.guards = [
            GuardedEnvironment(
                env_id, first + i, env, encode, decode, self._failures[i:][:1], in_a_row[i:][:1]
            )
            for i, env in enumerate(environments)
        ]
        dtype = np.uint8 if self.observation.is_image else np.float32
        self._observations = np.zeros((count, *self.observation.shape), dtype=dtype)
        self._counter = EpisodeCounter(count)
        self._actions: NDArray[Any] = np.zeros(0)

    @property
    def failures(self) -> int:
        """See `Simulators`."""
        return int(self._failures.sum())

    def reset(self, seed: int) -> NDArray[Any]:
        """See `Simulators`."""
        self._counter = EpisodeCounter(self.count)
        for i, guard in enumerate(self.guards):
            self._observations[i] = guard.reset(seed)
            beat()
        return self._observations.copy()

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """See `Simulators`. The step itself is made in `recv`: there are no threads here."""
        self._actions = actions

    def step(self, actions: NDArray[Any]) -> Transition:
        """See `Simulators`."""
        self.send(actions)
        return self.recv()

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators`."""
        actions = self._actions
        rewards = np.zeros(self.count, dtype=np.float32)
        terminated = np.zeros(self.count, dtype=np.bool_)
        truncated = np.zeros(self.count, dtype=np.bool_)
        final_observations: NDArray[Any] | None = None
        for i, guard in enumerate(self.guards):
            answer = guard.step(actions[i])
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
                self._observations[i] = guard.begin_episode()
                beat()
        over = terminated | truncated
        return Transition(
            observations=self._observations.copy(),
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            final_observations=final_observations,
            episodes=self._counter.add(rewards, over),
        )

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """See `Simulators`."""
        state = {
            "observations": self._observations.copy(),
            "scores": self._counter.scores.copy(),
            "agent_steps": self._counter.agent_steps.copy(),
            "generators": generators_state(),
        }
        for i, guard in enumerate(self.guards):
            if (own := state_of(guard.env)) is None:
                return None
            state |= {f"{i}.{key}": value for key, value in own.items()}
        return state

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """See `Simulators`."""
        self._observations = state["observations"].copy()
        self._counter.scores = state["scores"].copy()
        self._counter.agent_steps = state["agent_steps"].copy()
        for i, guard in enumerate(self.guards):
            prefix = f"{i}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            restore_state(guard.env, own)
        # Last, since environments may have drawn from them meanwhile.
        restore_generators(state["generators"])

    def close(self) -> None:
        """See `Simulators`."""
        for guard in self.guards:
            guard.close()
