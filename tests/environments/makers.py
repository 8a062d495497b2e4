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


NUMBER = 5


def spaceless() -> gymnasium.Env[Any, Any]:
    """Return an environment whose author forgot its spaces."""
    return gymnasium.Env()


def __getattr__(name: str) -> Any:
    """Stand in for a module that imports what it offers when it is asked for it."""
    if name == "lazy":
        raise ModuleNotFoundError("No module named 'screws'")
    raise AttributeError(name)
