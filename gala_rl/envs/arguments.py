"""Checks the arguments of an environment against the signature of what builds it."""

import inspect
from collections.abc import Callable, Collection, Mapping
from reprlib import repr as short
from typing import Any

from gala_rl.config.environment import EnvironmentSource
from gala_rl.errors import UserError

LIMIT = "max_episode_steps"
"""Argument after whose number of steps an episode is truncated."""

_LARGEST = 2**31 - 1
"""Largest step count of EnvPool and JAX, which count with 32 bits."""

_KINDS: dict[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
}
"""Types of values that can replace a default of a type."""

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_arguments(
    env: str,
    build: Callable[..., Any],
    args: Mapping[str, Any],
    *,
    given: Collection[str] = (),
    hidden: Collection[str] = (),
    also: Collection[str] = (),
) -> None:
    """Raise a UserError for an argument that an environment does not take, or that it lacks.

    Args:
        env: name of the environment, for messages.
        build: constructor or function; one without a readable signature takes anything.
        args: the user's arguments.
        given: names of arguments that have values already, which the user's replace.
        hidden: names of arguments that this package sets, and users cannot.
        also: names of arguments that the caller of `build` handles itself.
    """
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        return
    named = {p.name: p for p in parameters if p.kind in _NAMED and p.name not in hidden}
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    check_names(env, args, None if takes_any else (*named, *also))
    for name, parameter in named.items():
        has_value = name in args or name in given
        if parameter.default is inspect.Parameter.empty and not has_value:
            raise UserError(f"env {env!r} needs the argument {name}: --env-arg {name}=VALUE")


def check_names(env: str, args: Mapping[str, Any], known: Collection[str] | None) -> None:
    """Raise a UserError for an argument whose name is not known; None: all are allowed."""
    for name in args:
        if known is not None and name not in known:
            takes = f"it takes {', '.join(sorted(set(known)))}" if known else "it takes none"
            raise UserError(f"env {env!r} takes no argument {name!r}: {takes}")


def check_kinds(env: str, args: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise a UserError for an argument whose type is not that of its default."""
    for name, value in args.items():
        wanted = type(defaults[name])
        if type(value) not in _KINDS.get(wanted, (type(value),)):
            raise UserError(
                f"{name} {short(value)} of env {env!r} must be of the type {wanted.__name__}, such "
                f"as {defaults[name]!r}"
            )


def episode_limit(source: EnvironmentSource) -> int | None:
    """Return the steps after which an episode is truncated; None: the environment's own default.

    Raises:
        UserError: when the argument is no whole number from 1 to 2**31 - 1.
    """
    limit = source.args.get(LIMIT)
    if limit is None and (LIMIT not in source.args or source.prefix not in ("gym-vec", "envpool")):
        return None
    if limit == -1 and source.prefix is None:
        return None  # Gymnasium's word for an id without its time limit.
    if type(limit) is not int or not 1 <= limit <= _LARGEST:
        wanted = f"at most {_LARGEST}" if type(limit) is int and limit > 0 else "above 0"
        raise UserError(
            f"{LIMIT} {short(limit)} of env {source.env!r} must be a whole number {wanted}"
        )
    return limit
