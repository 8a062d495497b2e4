"""Names an environment: backend, id, arguments and wrappers; imports no Gymnasium."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gala_rl.config.names import function_name
from gala_rl.config.settings import AtariProtocol

Prefix = Literal["gym-vec", "envpool", "pgx", "jax", "make"]
"""What may stand before the colon of an environment's name; without one, Gymnasium builds it."""

PREFIXES: tuple[Prefix, ...] = get_args(Prefix)


@dataclass(frozen=True)
class EnvironmentSource:
    """Everything that determines an environment, as a run's config has it.

    Attributes:
        env: name, such as CartPole-v1, envpool:HalfCheetah-v4 or make:my_module:make_env.
        args: keyword arguments of its constructor, JSON values.
        wrappers: names module:function of functions that wrap an environment, applied in order.
        atari: how an Atari game is presented.
    """

    env: str
    args: Mapping[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    atari: AtariProtocol = field(default_factory=AtariProtocol)

    @property
    def prefix(self) -> Prefix | None:
        """Part of the name that says which backend builds it; None for a Gymnasium id."""
        before = self.env.partition(":")[0]
        return next((prefix for prefix in PREFIXES if prefix == before and ":" in self.env), None)

    @property
    def name(self) -> str:
        """The name without its prefix."""
        return self.env if self.prefix is None else self.env.partition(":")[2]


def name_of(factory: Callable[..., Any]) -> str:
    """Return the name "make:module:function" of a function that builds an environment.

    Raises:
        UserError: when other processes cannot import the function by that name.
    """
    remedy = ", or register it with Gymnasium and give its id; arguments go into env_args"
    return f"make:{function_name(factory, 'env', remedy)}"


def parse_argument(text: str) -> tuple[str, Any]:
    """Parse KEY=VALUE; the value is JSON, or else a string: size=8, slippery=false, map=8x8.

    Raises:
        ValueError: when there is no key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ValueError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value, parse_constant=_reject)
    except (ValueError, RecursionError):
        return key, value


def _reject(constant: str) -> Any:
    """Refuse NaN and infinities, which are no JSON."""
    raise ValueError(f"{constant} is not JSON")
