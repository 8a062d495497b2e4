"""Simulators of any Gymnasium environment, stepped one after the other in the learner's process."""

import logging
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gala_rl.envs.make import make_environment, specs_of
from gala_rl.envs.observations import Encoder
from gala_rl.envs.simulators import EpisodeCounter, Transition

MAX_FAILURES_IN_A_ROW = 10
"""A simulator that raises this often without a good step in between ends its learner."""

_log = logging.getLogger(__name__)


class GymnasiumSimulators:
    """B copies of one environment; see `Simulators` for methods and attributes.

    A simulator that raises is built anew: its episode ends as truncated with the last
    observation it gave, and is counted.

    An environment whose unwrapped class has `get_state() -> dict[str, NDArray]` and
    `set_state(state)`, covering its random state and its time limit, is saved in checkpoints.

    Args:
        env_id: Gymnasium id.
        count: B.
        first: index of the first of them, among all; of its seeds, too.
        failures: [B] where it is counted how often each was built anew; default: here.
        failures_in_a_row: [B] of these, since its last good step.

    Attributes:
        environments: the B copies; one that raises is replaced here.
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
        self._env_id, self._first = env_id, first
        zeros = np.zeros((2, count), dtype=np.int64)
        self._failures = zeros[0] if failures is None else failures
        self._failures_in_a_row = zeros[1] if failures_in_a_row is None else failures_in_a_row
        self.environments = [make_environment(env_id) for _ in range(count)]
        self._encode = Encoder(self.environments[0].observation_space, env_id)
        self.observation, self.action = specs_of(self.environments[0], env_id)
        self._action_space = self.environments[0].action_space
        dtype = np.uint8 if self.observation.is_image else np.float32
        self._observations = np.zeros((count, *self.observation.shape), dtype=dtype)
        self._counter = EpisodeCounter(count)
        self._actions: NDArray[Any] = np.zeros(0)
        self._seed = 0

    @property
    def failures(self) -> int:
        """See `Simulators`."""
        return int(self._failures.sum())

    def reset(self, seed: int) -> NDArray[Any]:
        """See `Simulators`."""
        self._seed = seed
        self._counter = EpisodeCounter(self.count)
        for i, env in enumerate(self.environments):
            self._observations[i] = self._encode(env.reset(seed=self._seed_of(i))[0])
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
        for i in range(self.count):
            previous = self._observations[i].copy()
            observation, rewards[i], terminated[i], truncated[i] = self._step_one(i, actions[i])
            self._observations[i] = previous if observation is None else self._encode(observation)
            if terminated[i] or truncated[i]:
                truncated[i] &= not terminated[i]
                if truncated[i]:
                    if final_observations is None:
                        final_observations = np.zeros_like(self._observations)
                    final_observations[i] = self._observations[i]
                self._observations[i] = self._encode(self._begin_episode(i))
        over = terminated | truncated
        return Transition(
            observations=self._observations.copy(),
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            final_observations=final_observations,
            episodes=self._counter.add(rewards, over),
        )

    def _step_one(self, i: int, action: Any) -> tuple[Any, float, bool, bool]:
        try:
            observation, reward, terminated, truncated, _ = self.environments[i].step(
                self._legal(action)
            )
        except Exception:
            self._count_failure(i)
            return None, 0.0, False, True
        self._failures_in_a_row[i] = 0
        return observation, float(reward), terminated, truncated

    def _begin_episode(self, i: int) -> Any:
        while True:
            try:
                if not self._failures_in_a_row[i]:
                    return self.environments[i].reset()[0]
                self.environments[i] = make_environment(self._env_id)
                return self.environments[i].reset(seed=self._seed_of(i))[0]
            except Exception:
                self._count_failure(i)

    def _count_failure(self, i: int) -> None:
        self._failures[i] += 1
        self._failures_in_a_row[i] += 1
        if self._failures_in_a_row[i] >= MAX_FAILURES_IN_A_ROW:
            raise  # noqa: PLE0704 - always called while the simulator's own exception is handled
        _log.exception("simulator %d of %s raised and is rebuilt", self._first + i, self._env_id)

    def _seed_of(self, i: int) -> int:
        """Of a simulator that is new: its own, whatever happens to others and wherever they are."""
        own, failures = self._first + i, int(self._failures[i])
        key = (own, failures) if failures else (own,)
        sequence = np.random.SeedSequence(self._seed, spawn_key=key)
        return int(sequence.generate_state(1)[0] % 2**31)

    def _legal(self, action: Any) -> Any:
        if isinstance(self._action_space, spaces.Discrete):
            return int(action) + int(self._action_space.start)
        if isinstance(self._action_space, spaces.MultiDiscrete | spaces.MultiBinary):
            space = self._action_space
            chosen = action.reshape(space.shape).astype(space.dtype)
            return chosen + space.start if isinstance(space, spaces.MultiDiscrete) else chosen
        assert isinstance(self._action_space, spaces.Box)
        return np.clip(action, self._action_space.low, self._action_space.high)

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """See `Simulators`."""
        if not all(hasattr(env.unwrapped, "get_state") for env in self.environments):
            return None
        state = {
            "observations": self._observations.copy(),
            "scores": self._counter.scores.copy(),
            "agent_steps": self._counter.agent_steps.copy(),
        }
        for i, env in enumerate(self.environments):
            for key, value in env.unwrapped.get_state().items():  # type: ignore[attr-defined]
                state[f"{i}.{key}"] = np.asarray(value)
        return state

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """See `Simulators`."""
        self._observations = state["observations"].copy()
        self._counter.scores = state["scores"].copy()
        self._counter.agent_steps = state["agent_steps"].copy()
        for i, env in enumerate(self.environments):
            env.reset()
            prefix = f"{i}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            env.unwrapped.set_state(own)  # type: ignore[attr-defined]

    def close(self) -> None:
        """See `Simulators`."""
        for env in self.environments:
            env.close()
