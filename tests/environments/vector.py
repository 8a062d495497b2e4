"""The counting environment as a vector environment, in each of Gymnasium's three reset modes."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray


class CountingVector(VectorEnv[Any, Any, Any]):
    """Observations [episode, step, last action], rewards 1, 2, 3, … as those of `Counting`.

    Simulator b's episodes are b steps longer than those of simulator 0.
    """

    def __init__(
        self,
        num_envs: int,
        mode: str = "NEXT_STEP",
        length: int = 7,
        max_episode_steps: int | None = None,
        breaks_at: int | None = None,
    ) -> None:
        self.num_envs = num_envs
        self.mode = AutoresetMode[mode]
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space = spaces.Box(-1.0, 1e6, (3,), np.float32)
        self.single_action_space = spaces.Discrete(5)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._lengths = length + np.arange(num_envs)
        self._limit, self._breaks_at = max_episode_steps, breaks_at
        self._calls = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        every = np.ones(self.num_envs, dtype=np.bool_)
        if options is None:
            self._state = np.tile([-1, 0, -1], (self.num_envs, 1))
            self._over = np.zeros(self.num_envs, dtype=np.bool_)
        self._begin(every if options is None else options["reset_mask"])
        return self._state.astype(np.float32), {}

    def step(self, actions: NDArray[Any]) -> Any:
        assert actions.shape == (self.num_envs,)
        self._calls += 1
        if self._calls == self._breaks_at:
            raise RuntimeError("a screw is loose")
        before = self._over
        assert self.mode is not AutoresetMode.DISABLED or not before.any()
        self._state[:, 1] += 1
        self._state[:, 2] = actions
        rewards = self._state[:, 1].astype(np.float32)
        terminated = self._state[:, 1] >= self._lengths
        truncated = self._state[:, 1] == self._limit
        over = terminated | truncated
        info: dict[str, Any] = {}
        if self.mode is AutoresetMode.NEXT_STEP:
            self._begin(before)
            rewards[before] = 99.0  # Belongs to no episode.
            for flags in (terminated, truncated, over):
                flags[before] = False
        elif self.mode is AutoresetMode.SAME_STEP and over.any():
            finals = np.full(self.num_envs, None, dtype=object)
            for row in np.flatnonzero(over):
                finals[row] = self._state[row].astype(np.float32)
            info["final_obs"] = finals
            self._begin(over)
        self._over = np.zeros_like(over) if self.mode is AutoresetMode.SAME_STEP else over
        return self._state.astype(np.float32), rewards, terminated, truncated, info

    def _begin(self, rows: NDArray[np.bool_]) -> None:
        self._state[rows, 0] += 1
        self._state[rows, 1:] = [0, -1]
        self._over = self._over & ~rows
