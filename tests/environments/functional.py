"""The counting environment as a functional environment for JAX."""

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv


class State(NamedTuple):
    """Random number of the episode, steps, last action."""

    episode: Any
    step: Any
    action: Any


class Counting(FuncEnv):  # type: ignore[type-arg]
    """Observations [number of the episode, step, last action], rewards 1, 2, 3, …"""

    def __init__(self, length: int = 7) -> None:
        super().__init__()
        self.length = length
        self.observation_space = spaces.Box(-1.0, 1e6, (3,), np.float32)
        self.action_space = spaces.Discrete(5)

    def initial(self, rng: Any, params: Any = None) -> State:
        import jax

        number = jax.random.randint(rng, (), 0, 1_000_000)
        return State(number, jax.numpy.int32(0), jax.numpy.int32(-1))

    def transition(self, state: State, action: Any, rng: Any, params: Any = None) -> State:
        return State(state.episode, state.step + 1, action.astype("int32"))

    def observation(self, state: State, rng: Any, params: Any = None) -> Any:
        import jax

        return jax.numpy.stack(state).astype("float32")

    def reward(
        self, state: State, action: Any, next_state: State, rng: Any, params: Any = None
    ) -> Any:
        return next_state.step

    def terminal(self, state: State, rng: Any, params: Any = None) -> Any:
        return state.step >= self.length


VALUES: dict[str, Any] = {
    "None": None,
    "half": 0.5,
    "column": np.ones(1),
    "pair": np.ones(2),
    "nan": np.full(3, np.nan, np.float32),
    "infinite": np.inf,
    "reals": State(np.ones(()), np.ones(()), np.ones(())),
    "two parts": (np.int32(0), np.int32(0)),
}


def returning(function: str, value: str) -> Counting:
    """A counting environment with one function that always returns a value by its name."""
    env = Counting()
    setattr(env, function, lambda *_: VALUES[value])
    return env


class Branching(Counting):
    """Branches by a number that is unknown when the function is compiled."""

    def reward(
        self, state: State, action: Any, next_state: State, rng: Any, params: Any = None
    ) -> Any:
        return 1.0 if action > 2 else 0.0


def number() -> int:
    return 5
