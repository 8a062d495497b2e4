"""Checks the arguments of an environment against the signature of what builds it."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gala_rl.errors import UserError

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
