"""Builds one Gymnasium environment from its source: id or factory, arguments and wrappers."""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.wrappers import TimeLimit

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.actions import action_spec
from gala_rl.envs.arguments import LIMIT, check_arguments
from gala_rl.envs.ids import find_spec
from gala_rl.envs.observations import ObservationEncoder
from gala_rl.errors import UserError
from gala_rl.imports import describe, import_function
from gala_rl.spaces import ActionSpec, ObservationSpec

_MAKE_ARGUMENTS = (LIMIT, "disable_env_checker")
"""Arguments that `gymnasium.make` takes for every environment."""

Environment = gymnasium.Env[Any, Any]


def make_environment(source: EnvironmentSource, advice: str = "") -> Environment:
    """Build one environment and apply its wrappers in order.

    A Gymnasium id names it (`module:Name-v0` imports the module first), or a function that builds
    it does (`make:module:function`).

    Args:
        source: the environment.
        advice: appended to the message when the environment's constructor raises.

    Raises:
        UserError: when the name is unknown, an argument is not the environment's, or it cannot be
            built; its cause is the exception that the environment raised.
    """
    env = source.env
    build = _factory(source) if source.prefix == "make" else _registered(source)
    built = _call(build, f"env {env!r} cannot be built", env, advice)
    if not isinstance(built, gymnasium.Env):
        raise UserError(
            f"env {env!r} returned {type(built).__name__}: it must return a gymnasium.Env"
        )
    for name in source.wrappers:
        built = _wrapped(built, name, env)
    check_spaces(built, "observation_space", "action_space", name=env)
    _check_reset(built, env)
    return built


def check_spaces(env: Any, *spaces: str, name: str) -> None:
    """Raise a UserError if an environment lacks one of its spaces."""
    for space in spaces:
        try:
            getattr(env, space)
        except AttributeError as error:
            raise UserError(f"env {name!r} has no {space}: set it in its constructor") from error
        except Exception as error:  # A property of a third party may raise anything.
            raise UserError(f"env {name!r}: its {space} raised {describe(error)}") from error


def _check_reset(env: Environment, name: str) -> None:
    """Raise a UserError for an environment whose `reset` takes no seed, as in OpenAI's gym."""
    while isinstance(env, gymnasium.Wrapper) and env.reset.__module__.startswith("gymnasium."):
        env = env.env
    try:
        parameters = inspect.signature(env.reset).parameters.values()
    except (TypeError, ValueError):  # Compiled code may have no readable signature.
        return
    if not any(p.name == "seed" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        raise UserError(
            f"reset() of env {name!r} takes no seed: define reset(self, *, seed=None, "
            f"options=None), which returns (observation, info)"
        )


def _registered(source: EnvironmentSource) -> Callable[[], Any]:
    spec = find_spec(source.env)
    if spec.entry_point is not None and source.args:
        check_arguments(
            source.env, _creator(spec), source.args, given=spec.kwargs, also=_MAKE_ARGUMENTS
        )
    return partial(gymnasium.make, spec, **source.args)


def _creator(spec: EnvSpec) -> Callable[..., Any]:
    creator: Any = spec.entry_point
    return load_env_creator(creator) if isinstance(creator, str) else creator


def _factory(source: EnvironmentSource) -> Callable[[], Any]:
    """Return what builds the environment of `make:module:function`."""
    function = import_function(source.name, f"env {source.env!r}", "make:")
    args = dict(source.args)
    check_arguments(source.env, function, args, also=(LIMIT,))
    if LIMIT not in args or _takes(function, LIMIT):
        return partial(function, **args)
    limit = args.pop(LIMIT)
    return (
        partial(function, **args) if limit is None else lambda: TimeLimit(function(**args), limit)
    )


def _wrapped(env: Environment, name: str, env_name: str) -> Environment:
    """Apply a wrapper; close the environment if that fails."""
    what = f"wrap {name!r}"
    try:
        function = import_function(name, what)
        wrapped = _call(partial(function, env), f"{what} raised", env_name, "")
        if not isinstance(wrapped, gymnasium.Env):
            raise UserError(
                f"{what} returned {type(wrapped).__name__}: it must return a gymnasium.Env"
            )
    except BaseException:
        env.close()
        raise
    return wrapped


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        check_arguments("", function, {name: None})
    except UserError:
        return False
    return True


def _call(build: Callable[[], Any], what: str, env: str, advice: str) -> Any:
    """Call third-party code that builds an environment; report what it raises in one line."""
    try:
        with _preserve_torch_defaults():
            return build()
    except (UserError, KeyboardInterrupt):
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"env {env!r} needs a package that is missing: {error}") from error
    # Third-party constructors may raise anything, and even end the program.
    except BaseException as error:
        raise UserError(f"{what}: {describe(error)}{advice}") from error


@contextmanager
def _preserve_torch_defaults() -> Iterator[None]:
    """Restore PyTorch's defaults, which an environment with a network of its own may change."""
    # Not imported here, since loading torch would delay reports of command-line mistakes.
    torch = sys.modules.get("torch")
    before = torch and (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )
    try:
        yield
    finally:
        if (torch := sys.modules.get("torch")) is not None:
            # The environment has imported torch first, when these were its defaults.
            dtype, gradients, threads = before or (torch.float32, True, torch.get_num_threads())
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)
            torch.set_num_threads(threads)


def space_specs(env: Environment, name: str) -> tuple[ObservationSpec, ActionSpec]:
    """Return the specs of an environment's observation and action space.

    Raises:
        UserError: for a space that no network here can take.
    """
    observation = ObservationEncoder(env.observation_space, name).spec
    return observation, action_spec(env.action_space, name)
