"""Turns the policy's actions into those of a Gymnasium space."""

from typing import Any

import numpy as np
from gymnasium import spaces


class Decoder:
    """Makes an environment's action of one of the policy.

    Args:
        space: of the actions, as `specs_of` accepts it.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self._space = space

    def __call__(self, action: Any) -> Any:
        """An action of the policy, a number or [A] → one of the space."""
        space = self._space
        if isinstance(space, spaces.Discrete):
            return int(action) + int(space.start)
        if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
            chosen = action.reshape(space.shape).astype(space.dtype)
            return chosen + space.start if isinstance(space, spaces.MultiDiscrete) else chosen
        assert isinstance(space, spaces.Box)
        return np.clip(action, space.low, space.high)
