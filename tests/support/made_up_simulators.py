"""Environments with unusual spaces and faults, and their simulators."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from gala_rl.envs import (
    Transition,
)
from gala_rl.envs.gymnasium import GymnasiumSimulators

COUNTING = "tests.environments:Counting-v0"


class Spaces(gymnasium.Env[Any, Any]):
    """Gives a fixed observation and remembers the actions it got."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        self.observation_space = observations
        self.action_space = actions
        self.actions: list[Any] = []

    def _observation(self) -> Any:
        shape = self.observation_space.shape
        assert shape is not None
        return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        return self._observation(), 1.0, False, False, {}


class NeverStarts(Spaces):
    """Its episodes end at once, and from the second on `reset` raises."""

    started = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        type(self).started += 1
        if type(self).started > 1:
            raise OSError("the simulator does not start")
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._observation(), 1.0, True, True, {}


def pixels(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
KINDS: dict[str, tuple[type[Spaces], spaces.Space[Any], spaces.Space[Any]]] = {
    "Colour": (Spaces, pixels(48, 40, 3), spaces.Discrete(2)),
    "Grey": (Spaces, pixels(48, 40), spaces.Discrete(2)),
    "Grid": (Spaces, pixels(7, 7, 3), spaces.Discrete(2)),
    "FromThree": (Spaces, VECTOR, spaces.Discrete(4, start=3)),
    "TextSeen": (Spaces, spaces.Text(9), spaces.Discrete(2)),
    "NoNumber": (Spaces, spaces.Box(-1, 1, (0,)), spaces.Discrete(2)),
    "Choices": (Spaces, VECTOR, spaces.MultiDiscrete([2, 3], start=[5, -1])),
    "ChoicesInRows": (Spaces, VECTOR, spaces.MultiDiscrete(np.array([[2, 3], [4, 2]]))),
    "Switches": (Spaces, VECTOR, spaces.MultiBinary((2, 2))),
    "NoActions": (Spaces, VECTOR, spaces.Box(-1, 1, (0,))),
    "TupleActions": (Spaces, VECTOR, spaces.Tuple((spaces.Discrete(2),))),
    "SquareActions": (Spaces, VECTOR, spaces.Box(-1, 1, (2, 2))),
    "Ends": (NeverStarts, VECTOR, spaces.Discrete(2)),
}


def play(env: GymnasiumSimulators, steps: int, action: int = 1) -> list[Transition]:
    return [env.step(np.full(env.count, action)) for _ in range(steps)]


def inner(env: GymnasiumSimulators, index: int = 0) -> Any:
    return env.environments[index].env.unwrapped
