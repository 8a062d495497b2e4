"""Builds one Gymnasium environment by its id, and reads the specs of its spaces."""

import difflib
import math
import warnings
from typing import Any

import gymnasium
from gymnasium import spaces

from gala_rl.envs.observations import Encoder
from gala_rl.errors import UserError
from gala_rl.spaces import ActionSpec, ObservationSpec


def make_environment(env_id: str) -> gymnasium.Env[Any, Any]:
    """One environment by its Gymnasium id (`module:Name-v0` imports the module first).

    Raises:
        UserError: when there is none of that name, or it cannot be built.
    """
    try:
        with warnings.catch_warnings():
            # An id without a version is an error below, not a warning.
            warnings.filterwarnings("ignore", ".*unversioned environment.*")
            if env_id.startswith("."):
                raise ValueError("its module would be relative to this one")
            env = gymnasium.make(env_id)
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"env {env_id!r} needs a package that is missing: {error}") from error
    except ImportError as error:
        raise UserError(f"env {env_id!r} cannot be imported: {error}") from error
    except (gymnasium.error.Error, ValueError) as error:
        close = difflib.get_close_matches(env_id, gymnasium.registry.keys(), n=1, cutoff=0.6)
        guess = f"did you mean {close[0]}?" if close else "give a Gymnasium id such as CartPole-v1"
        raise UserError(f"env {env_id!r} is unknown: {guess}") from error
    if env.spec is not None and env.spec.id != env_id.rpartition(":")[2]:
        env.close()
        raise UserError(f"env {env_id!r} has no version: did you mean {env.spec.id}?")
    return env


def specs_of(env: gymnasium.Env[Any, Any], env_id: str) -> tuple[ObservationSpec, ActionSpec]:
    """Specs of an environment's spaces.

    Raises:
        UserError: for a space that no network here can take.
    """
    observation = Encoder(env.observation_space, env_id).spec
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
