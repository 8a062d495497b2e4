"""Environments whose every number is known: counters, one with a state that can be saved."""

import random
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray


class Counting(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Tells where it is: observation (episode, step, last action), reward = step just made.

    Episodes are `length` steps long and end terminated, or truncated if so made. Any slip at a
    seam of rollouts or episodes is a wrong integer.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1e6, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length: int = 7, truncates: bool = False) -> None:
        self.length = length
        self.truncates = truncates
        self.episode = -1
        self.step_number = 0
        self.last_action = -1

    def _observation(self) -> NDArray[np.float32]:
        return np.array([self.episode, self.step_number, self.last_action], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.step_number = 0
        self.last_action = -1
        return self._observation(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        self.last_action = int(action)
        over = self.step_number >= self.length
        ends = (over and not self.truncates, over and self.truncates)
        return self._observation(), float(self.step_number), *ends, {}


class Drifting(gymnasium.Env[NDArray[np.float32], np.int64]):
    """A random walk that the action pushes; its whole state, randomness too, can be saved."""

    observation_space = gymnasium.spaces.Box(-10.0, 10.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, length: int = 23) -> None:
        self.length = length
        self.position = np.zeros(2, dtype=np.float32)
        self.step_number = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.position = self.np_random.normal(size=2).astype(np.float32)
        self.step_number = 0
        return self.position.copy(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        push = np.array([action - 1, 0.0])
        noise = self.np_random.normal(size=2)
        self.position = np.clip(self.position + 0.2 * push + 0.1 * noise, -5, 5).astype(np.float32)
        reward = -float(np.abs(self.position[0]))
        terminated = bool(np.abs(self.position[0]) > 3)
        return (
            self.position.copy(),
            reward,
            terminated,
            not terminated and self.step_number >= self.length,
            {},
        )

    def gala_get_state(self) -> dict[str, NDArray[Any]]:
        generator: Any = self.np_random.bit_generator.state
        words = [
            (generator["state"][name] >> shift) & (2**64 - 1)
            for name in ("state", "inc")
            for shift in (0, 64)
        ]
        return {
            "position": self.position.copy(),
            "step_number": np.array(self.step_number),
            "generator": np.array(words, dtype=np.uint64).view(np.int64),
            "spare": np.array([generator["has_uint32"], generator["uinteger"]], dtype=np.int64),
        }

    def gala_set_state(self, state: dict[str, NDArray[Any]]) -> None:
        self.position = state["position"].copy()
        self.step_number = int(state["step_number"])
        low, high, inc_low, inc_high = (int(w) for w in state["generator"].view(np.uint64))
        self.np_random.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": low | high << 64, "inc": inc_low | inc_high << 64},
            "has_uint32": int(state["spare"][0]),
            "uinteger": int(state["spare"][1]),
        }


class DrawingGlobally(Drifting):
    """Draws from the global generators of numpy and of `random` as well."""

    def __init__(self, length: int = 23) -> None:
        super().__init__(length)
        random.random()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.position += np.random.normal(size=2).astype(np.float32)  # noqa: NPY002
        return self.position.copy(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        _, reward, terminated, truncated, info = super().step(action)
        self.position[1] += np.float32(random.gauss(0, 0.1) + np.random.normal() / 10)  # noqa: NPY002
        return self.position.copy(), reward, terminated, truncated, info
