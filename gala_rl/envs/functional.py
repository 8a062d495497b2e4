"""Functional environments for JAX: the user's own by name, and the games of pgx.

A functional environment is Gymnasium's `FuncEnv`: pure functions of a state, an action and a random
key, for one simulator. `jax.py` vectorises, compiles and resets it.
"""

import importlib
import inspect
from typing import Any

from gymnasium.experimental.functional import FuncEnv
from gymnasium.spaces import Box, Discrete

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.arguments import LIMIT, check_arguments, check_kinds
from gala_rl.envs.make import check_spaces
from gala_rl.envs.packages import backend_package
from gala_rl.errors import UserError
from gala_rl.imports import describe, import_function
from gala_rl.suggestions import closest

PGX_GAMES = (
    "minatar-asterix",
    "minatar-breakout",
    "minatar-freeway",
    "minatar-seaquest",
    "minatar-space_invaders",
)
"""Games of pgx for one player, under MinAtar's protocol: the last action repeats with probability
0.1, difficulty rises, and only actions that have an effect can be chosen ("MinAtar: An
Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning Experiments", Young and
Tian 2019, in its version 1)."""

_STICKY = "sticky_action_prob"

Environment = FuncEnv[Any, Any, Any, Any, Any, Any, Any]


def functional_environment(source: EnvironmentSource) -> Environment:
    """Build a functional environment.

    Raises:
        UserError: when a package is missing, the name or an argument is unknown, or what the name
            stands for builds no `FuncEnv`.
    """
    args = {name: value for name, value in source.args.items() if name != LIMIT}
    if source.prefix == "pgx":
        return _pgx_game(source, args)
    backend_package("jax", "jax", source.env)
    make = import_function(source.name, f"env {source.env!r}", "jax:")
    check_arguments(source.env, make, args, also=(LIMIT,))
    try:
        env = make(**args)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UserError(f"env {source.env!r} cannot be built: {describe(error)}") from error
    if not isinstance(env, FuncEnv):
        raise UserError(
            f"env {source.env!r} returned {type(env).__name__}: it must return a "
            f"gymnasium.experimental.functional.FuncEnv"
        )
    check_spaces(env, "observation_space", "action_space", name=source.env)
    return env


def _pgx_game(source: EnvironmentSource, args: dict[str, Any]) -> Environment:
    if source.name not in PGX_GAMES:
        guess = closest(source.name, PGX_GAMES)
        remedy = f"did you mean pgx:{guess}?" if guess else f"choose {', '.join(PGX_GAMES)}"
        raise UserError(f"env {source.env!r} is no game for one player: {remedy}")
    for package in ("jax", "pgx"):
        backend_package(package, "jax", source.env)
    game = importlib.import_module(f"pgx.minatar.{source.name.partition('-')[2]}")
    (kind,) = (
        value
        for name, value in vars(game).items()
        if name.startswith("MinAtar") and isinstance(value, type)
    )
    check_arguments(source.env, kind, args, also=(LIMIT,))
    parameters = inspect.signature(kind).parameters
    check_kinds(source.env, args, {name: parameters[name].default for name in args})
    if not 0 <= (probability := args.get(_STICKY, 0)) <= 1:
        raise UserError(f"{_STICKY} {probability} of env {source.env!r} must be from 0 to 1")
    return PgxEnvironment(kind(**args))


class PgxEnvironment(FuncEnv):  # type: ignore[type-arg]
    """A game of pgx for one player as a `FuncEnv`.

    Args:
        game: a `pgx.Env`.
    """

    def __init__(self, game: Any) -> None:
        super().__init__()
        self._game = game
        self.observation_space = Box(0, 1, game.observation_shape, bool)
        self.action_space = Discrete(game.num_actions)

    def initial(self, rng: Any, params: Any = None) -> Any:
        """Return a first state."""
        return self._game.init(rng)

    def transition(self, state: Any, action: Any, rng: Any, params: Any = None) -> Any:
        """Return the state after an action."""
        return self._game.step(state, action, rng)

    def observation(self, state: Any, rng: Any, params: Any = None) -> Any:
        """Return the planes [H, W, C] of a state."""
        return state.observation

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        """Return the reward of the only player."""
        return next_state.rewards[0]

    def terminal(self, state: Any, rng: Any, params: Any = None) -> Any:
        """Return whether the game is over."""
        return state.terminated
