"""The action space of an environment, read off an instance that is built and closed again."""

from typing import Any

from gymnasium import spaces

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs.guard import close_environment
from gala_rl.envs.make import make_environment
from gala_rl.spaces import EnvironmentSpec


def action_space_of(source: EnvironmentSource, spec: EnvironmentSpec) -> spaces.Space[Any]:
    """Return the space to which `ActionDecoder` converts the policy's actions.

    Args:
        source: the environment.
        spec: its specs.

    Raises:
        UserError: when the environment cannot be built.
    """
    # Imported where they are used, since most users have only some of their packages.
    match spec.backend:
        case "ale":
            return spaces.Discrete(spec.action.size)
        case "gym-vec":
            from gala_rl.envs.gymnasium_vector import make_vector_environment

            vector = make_vector_environment(source, 1)
            close_environment(vector, source.env)
            return vector.single_action_space
        case "envpool":
            from gala_rl.envs import envpool

            pooled: spaces.Space[Any] = envpool.action_space(source)
            return pooled
        case "jax":
            from gala_rl.envs.functional import functional_environment

            space: spaces.Space[Any] = functional_environment(source).action_space
            return space
        case _:
            env = make_environment(source)
            close_environment(env, source.env)
            return env.action_space
