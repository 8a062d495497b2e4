"""Builds one Gymnasium environment by its id, and reads the specs of its spaces."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
from gymnasium import spaces

from gala_rl.envs.ids import describe, find_spec
from gala_rl.envs.observations import ObservationEncoder
from gala_rl.errors import UserError
from gala_rl.spaces import ActionSpec, ObservationSpec


def make_environment(env_id: str, advice: str = "") -> gymnasium.Env[Any, Any]:
    """One environment by its Gymnasium id (`module:Name-v0` imports the module first).

    Args:
        env_id: Gymnasium id.
        advice: told with the exception of a constructor.

    Raises:
        UserError: when there is none of that name, or it cannot be built: its cause is the
            exception that the environment raised.
    """
    try:
        with _same_torch():
            return gymnasium.make(find_spec(env_id))
    except (UserError, KeyboardInterrupt):
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"env {env_id!r} needs a package that is missing: {error}") from error
    # The constructor is somebody else's code: it may raise anything, and even end the program.
    except BaseException as error:
        raise UserError(f"env {env_id!r} cannot be built: {describe(error)}{advice}") from error


@contextmanager
def _same_torch() -> Iterator[None]:
    """Give PyTorch's defaults back, which an environment with a network of its own may change."""
    # Not imported here: a mistake on the command line is reported at once, without PyTorch.
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
            # An environment that was the first to import it found these.
            dtype, gradients, threads = before or (torch.float32, True, torch.get_num_threads())
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)
            torch.set_num_threads(threads)


def specs_of(env: gymnasium.Env[Any, Any], env_id: str) -> tuple[ObservationSpec, ActionSpec]:
    """Specs of an environment's spaces.

    Raises:
        UserError: for a space that no network here can take.
    """
    observation = ObservationEncoder(env.observation_space, env_id).spec
    return observation, _action_spec(env.action_space, env_id)


def _action_spec(space: spaces.Space[Any], env_id: str) -> ActionSpec:
    if isinstance(space, spaces.Discrete):
        return ActionSpec(int(space.n), True)
    sizes: tuple[int, ...] = ()
    if isinstance(space, spaces.MultiDiscrete):
        sizes = tuple(int(size) for size in space.nvec.ravel())
    elif isinstance(space, spaces.MultiBinary):
        sizes = (2,) * math.prod(space.shape)
    elif isinstance(space, spaces.Box) and len(space.shape) == 1 and space.shape[0] > 0:
        return ActionSpec(space.shape[0], False)
    if not sizes:
        raise UserError(
            f"env {env_id!r} has {type(space).__name__} actions: only Discrete, MultiDiscrete, "
            f"MultiBinary and continuous (one-dimensional Box) actions can be learned"
        )
    return ActionSpec(len(sizes), True, sizes)
