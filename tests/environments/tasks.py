"""Environments that can be learned, with a known optimal return."""

from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray


class Bandit(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Episodes of one step; the observation is -1 or 1, the same chance each.

    `pays` says what the reward is: always 1, the observation, 1 for action 1, or 1 for the action
    that matches the observation.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, pays: Literal["always", "observation", "action", "match"]) -> None:
        self.pays = pays
        self.side = 1.0

    def _draw(self) -> NDArray[np.float32]:
        self.side = float(self.np_random.choice([-1.0, 1.0]))
        return np.array([self.side], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        return self._draw(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        reward = {
            "always": 1.0,
            "observation": self.side,
            "action": float(action == 1),
            "match": float((action == 1) == (self.side > 0)),
        }[self.pays]
        return self._draw(), reward, True, False, {}


class Corridor(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Tells how many steps are behind; pays 1 at its last step, or at each step and is cut there.

    The true values are known: γ^(steps left - 1) where the episode ends; 1 / (1 - γ) everywhere
    where it is only cut. The final observation is that of the start, not one that is never learned.
    """

    observation_space = gymnasium.spaces.Box(0.0, 10.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length: int, truncates: bool) -> None:
        self.length = length
        self.truncates = truncates
        self.step_number = 0

    def _observation(self) -> NDArray[np.float32]:
        return np.array([self.step_number % self.length], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        return self._observation(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        over = self.step_number >= self.length
        reward = float(over or self.truncates)
        ends = (over and not self.truncates, over and self.truncates)
        return self._observation(), reward, *ends, {}


class Unscaled(Bandit):
    """Bandit-match in unfit units: the side is a thousandth of the observation, rewards thousands.

    The second number of the observation never changes.
    """

    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)

    def __init__(self) -> None:
        super().__init__("match")

    def _draw(self) -> NDArray[np.float32]:
        return np.array([1e5 + 1e2 * super()._draw()[0], 7e5], dtype=np.float32)

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, 5e3 * reward, terminated, truncated, info


class Recall(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Shows a cue, -1 or 1, at the start alone, and pays 1 if the last action matches it.

    Without memory, one half is all that can be had.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.step_number = 0
        self.cue = 1.0

    def _observation(self) -> NDArray[np.float32]:
        asked = self.step_number == self.length - 1
        cue = 0.0 if self.step_number else self.cue
        return np.array([cue, float(asked)], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        self.cue = float(self.np_random.choice([-1.0, 1.0]))
        return self._observation(), {}

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        over = self.step_number >= self.length
        right = (action == 1) == (self.cue > 0)
        return self._observation(), float(over and right), over, False, {}


class CartPoleWithoutVelocities(gymnasium.ObservationWrapper[Any, Any, Any]):
    """CartPole that shows positions alone: velocities follow from what was seen before."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1").unwrapped)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def observation(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        return observation[::2]
