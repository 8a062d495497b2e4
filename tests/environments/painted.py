"""An environment with a screen that shows what has happened."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray


class Painted(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Shows the sum of its rewards as red, and the step as green; a game has 5 to 9 steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    size = (32, 49)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.length = int(self.np_random.integers(5, 10))
        self.score = self.moment = 0
        return self._observation(), {}

    def _observation(self) -> NDArray[np.float32]:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.moment += 1
        self.score += int(action)
        return self._observation(), float(action), self.moment == self.length, False, {}

    def render(self) -> Any:
        if self.render_mode is None:
            return None
        image = np.zeros((*self.size, 3), np.uint8)
        image[..., :2] = self.score, self.moment
        return image


class Blank(Painted):
    """Has a render mode, but shows nothing."""

    def render(self) -> Any:
        return None


def without_a_mode() -> Painted:
    return Painted()
