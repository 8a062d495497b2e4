"""Functions that build and wrap environments, right and wrong ones, by module:function."""

from typing import Any

import gymnasium

from tests.environments.known import Counting

APPLIED: list[str] = []
"""Names of wrappers in the order in which they were applied."""


def counting(length: int = 7, truncates: bool = False) -> Counting:
    return Counting(length, truncates)


def needy(length: int) -> Counting:
    return Counting(length)


def anything(**args: Any) -> Counting:
    return Counting(**args)


def nothing() -> None:
    return None


class Makers:
    @staticmethod
    def inner() -> Counting:
        return Counting(3)


class Negated(gymnasium.RewardWrapper[Any, Any]):
    def reward(self, reward: Any) -> float:
        return -float(reward)


def negate(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    APPLIED.append("negate")
    return Negated(env)


def limit(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    APPLIED.append("limit")
    return gymnasium.wrappers.TimeLimit(env, 4)


def forgets(env: gymnasium.Env[Any, Any]) -> None:
    Negated(env)


def raises(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    raise RuntimeError("no such luck")


class OldWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Resets as OpenAI's gym did."""

    def reset(self) -> Any:  # type: ignore[override]
        return self.env.reset()[0]


def old_reset() -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(OldWrapper(Counting(3)), 4)


class Compiled:
    """Stands for a method of compiled code, whose signature cannot be read."""

    __signature__ = "none"

    def __call__(self, **options: Any) -> Any:
        return Counting(3).reset(**options)


def compiled_reset() -> Any:
    env: Any = Counting(3)
    env.reset = Compiled()
    return env


class LateSpace(Counting):
    @property
    def observation_space(self) -> Any:
        raise RuntimeError("late")

    @observation_space.setter
    def observation_space(self, space: Any) -> None:
        pass


def raising_space() -> Counting:
    return LateSpace(3)


def no_action() -> Any:
    return acting(gymnasium.spaces.Box(0.0, 1.0, (0,)))


def many_actions() -> Any:
    return acting(gymnasium.spaces.Discrete(2**40))


def many_observations() -> Any:
    env: Any = Counting(3)
    env.observation_space = gymnasium.spaces.Discrete(2**40)
    return env


def acting(space: gymnasium.Space[Any]) -> Any:
    env: Any = Counting(3)
    env.action_space = space
    return env


NUMBER = 5


def spaceless() -> gymnasium.Env[Any, Any]:
    """Return an environment whose author forgot its spaces."""
    return gymnasium.Env()


def __getattr__(name: str) -> Any:
    """Stand in for a module that imports what it offers when it is asked for it."""
    if name == "lazy":
        raise ModuleNotFoundError("No module named 'screws'")
    raise AttributeError(name)
