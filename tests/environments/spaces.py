"""Environments with other kinds of observations and actions."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tests.environments.known import Counting


class Parts(gymnasium.Env[dict[str, Any], NDArray[np.int64]]):
    """Shows a picture, a vector and a number, and pays for the two actions that fit two of them.

    One half for naming the brighter side of the picture, one half for the number.
    """

    observation_space = gymnasium.spaces.Dict(
        {
            "vector": gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32),
            "picture": gymnasium.spaces.Box(0, 255, (36, 40, 3), np.uint8),
            "number": gymnasium.spaces.Discrete(3, start=1),
        }
    )
    action_space = gymnasium.spaces.MultiDiscrete([2, 3], start=[0, 1])

    def _observation(self) -> dict[str, Any]:
        self.side = int(self.np_random.integers(2))
        self.number = int(self.np_random.integers(1, 4))
        picture = np.zeros((36, 40, 3), dtype=np.uint8)
        picture[:, 20 * self.side : 20 * self.side + 20] = 255
        vector = self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32)
        return {"vector": vector, "picture": picture, "number": np.int64(self.number)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(
        self, action: NDArray[np.int64]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        side, number = action
        reward = 0.5 * (side == self.side) + 0.5 * (number == self.number)
        return self._observation(), float(reward), True, False, {}


class Stripes(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """Shows random pictures, and is cut after five of them."""

    observation_space = gymnasium.spaces.Box(0, 255, (36, 40, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        return self._observation(), {}

    def _observation(self) -> NDArray[np.uint8]:
        return self.np_random.integers(256, size=(36, 40, 3), dtype=np.uint8)

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        return self._observation(), float(action), False, self.step_number == 5, {}


class Letters(Counting):
    """Says something, which no network here can take."""

    observation_space = gymnasium.spaces.Dict(  # type: ignore[assignment]
        {
            "number": Counting.observation_space,
            "said": gymnasium.spaces.Tuple([gymnasium.spaces.Sequence(Counting.observation_space)]),
        }
    )
