"""Environments that return what a test says at one step of each life."""

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.gymnasium import GymnasiumSimulators

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
GOOD = np.array([0.25, 0.5, 0.75], dtype=np.float32)


class Returning(gymnasium.Env[Any, Any]):
    """Returns what a test says at one step of each life, and good answers before and after."""

    action_space = spaces.Discrete(2)
    observation_space: spaces.Space[Any] = BOX
    good: ClassVar[Any] = GOOD
    answer: Callable[[Any], Any]
    bad_at = 3
    built = closed = 0

    def __init__(self) -> None:
        type(self).built += 1
        self.observation_space = type(self).observation_space
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        return self.good, {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        answer: Any = (self.good, 1.0, False, False, {})
        return type(self).answer(answer) if self.steps == self.bad_at else answer

    def close(self) -> None:
        type(self).closed += 1


def simulators(
    answer: Callable[[Any], Any],
    space: spaces.Space[Any] = BOX,
    good: Any = GOOD,
    count: int = 2,
    base: type[Returning] = Returning,
    **attributes: Any,
) -> tuple[GymnasiumSimulators, type[Returning]]:
    made = {"answer": staticmethod(answer), "observation_space": space, "good": good}
    kind: Any = type("Made", (base,), {**made, **attributes})
    gymnasium.register("Made-v0", kind, disable_env_checker=True)
    return GymnasiumSimulators(EnvironmentSource("Made-v0"), count), kind


def showing(observation: Any) -> Callable[[Any], Any]:
    return lambda answer: (observation, *answer[1:])
