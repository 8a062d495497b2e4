"""Builds one Gymnasium environment by id, and reads the specs of its spaces."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium

from gala_rl.envs.actions import action_spec
from gala_rl.envs.ids import describe, find_spec
from gala_rl.envs.observations import ObservationEncoder
from gala_rl.errors import UserError
from gala_rl.spaces import ActionSpec, ObservationSpec


def make_environment(env_id: str, advice: str = "") -> gymnasium.Env[Any, Any]:
    """Build one environment by its Gymnasium id (`module:Name-v0` imports the module first).

    Args:
        env_id: Gymnasium id.
        advice: appended to the message when the environment's constructor raises.

    Raises:
        UserError: when the id is unknown, or the environment cannot be built; its cause is the
            exception that the environment raised.
    """
    try:
        with _preserve_torch_defaults():
            return gymnasium.make(find_spec(env_id))
    except (UserError, KeyboardInterrupt):
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"env {env_id!r} needs a package that is missing: {error}") from error
    # Third-party constructors may raise anything, and even end the program.
    except BaseException as error:
        raise UserError(f"env {env_id!r} cannot be built: {describe(error)}{advice}") from error


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


def space_specs(env: gymnasium.Env[Any, Any], env_id: str) -> tuple[ObservationSpec, ActionSpec]:
    """Return the specs of an environment's observation and action space.

    Raises:
        UserError: for a space that no network here can take.
    """
    observation = ObservationEncoder(env.observation_space, env_id).spec
    return observation, action_spec(env.action_space, env_id)
