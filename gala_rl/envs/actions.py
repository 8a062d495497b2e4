"""Turns the policy's actions into those of a Gymnasium space."""

from typing import Any

import numpy as np
from gymnasium import spaces

_WIDEST = 1e9
"""Bounds further apart stand for no bounds, such as the largest numbers of a type."""


class ActionDecoder:
    """Makes an environment's action of one of the policy.

    Where both bounds of a number of a Box are finite, -1 … 1 of the policy span them; other numbers
    are taken as they are. All are clipped to the bounds, and rounded where the Box is of integers.

    Args:
        space: of the actions, as `specs_of` accepts it.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self._space = space
        if not isinstance(space, spaces.Box):
            return
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        is_bounded = self._high / 2 - self._low / 2 <= _WIDEST / 2
        low, high = np.where(is_bounded, [self._low, self._high], [[-1.0], [1.0]])
        self._centre, self._half_range = (low + high) / 2, (high - low) / 2

    def __call__(self, action: Any) -> Any:
        """An action of the policy, a number or [A] → one of the space, of its dtype."""
        space = self._space
        if isinstance(space, spaces.Discrete):
            return int(action) + int(space.start)
        if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
            chosen = action.reshape(space.shape).astype(space.dtype)
            return chosen + space.start if isinstance(space, spaces.MultiDiscrete) else chosen
        assert isinstance(space, spaces.Box)
        scaled = self._centre + self._half_range * action
        # A third of the time of np.clip, which counts at every step.
        legal = np.minimum(np.maximum(scaled, self._low), self._high)
        if space.dtype is not None and space.dtype.kind != "f":
            legal = np.rint(legal)
        return legal.astype(space.dtype)
