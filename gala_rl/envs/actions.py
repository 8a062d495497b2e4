"""Converts the policy's actions to those of a Gymnasium action space."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gala_rl.errors import UserError
from gala_rl.spaces import ActionSpec

_LARGEST_RANGE = 1e9
"""Bounds further apart, such as the largest numbers of a type, count as no bounds."""


def action_spec(space: spaces.Space[Any], env: str) -> ActionSpec:
    """Return the spec of an action space.

    Raises:
        UserError: for a space that no policy here can act in.
    """
    match space:
        case spaces.Discrete():
            return ActionSpec(int(space.n), True)
        case spaces.MultiDiscrete() | spaces.MultiBinary() | spaces.Box() if 0 in space.shape:
            raise UserError(f"env {env!r} has {type(space).__name__} actions without a number")
        case spaces.MultiDiscrete():
            return ActionSpec(space.nvec.size, True, tuple(space.nvec.ravel().tolist()))
        case spaces.MultiBinary():
            size = math.prod(space.shape)
            return ActionSpec(size, True, (2,) * size)
        case spaces.Box():
            return ActionSpec(math.prod(space.shape), False)
    raise UserError(
        f"env {env!r} has {type(space).__name__} actions: only Discrete, MultiDiscrete, "
        f"MultiBinary and continuous (Box) actions can be learned"
    )


class ActionDecoder:
    """Convert an action of the policy to one of an environment.

    Where both bounds of a Box dimension are finite, -1 … 1 of the policy is scaled to them; other
    dimensions are not scaled. All are clipped to the bounds, and rounded in a Box of integers.

    Args:
        space: action space that `action_spec` accepts.

    Attributes:
        space: the action space.
        centre: [A] of a Box, to which 0 of the policy is moved.
        half_range: [A] of a Box, by which actions of the policy are multiplied.
        low: [A] lower bounds of a Box.
        high: [A] upper bounds of a Box.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space
        if not isinstance(space, spaces.Box):
            return
        self.low = space.low.astype(np.float64).ravel()
        self.high = space.high.astype(np.float64).ravel()
        is_bounded = self.high / 2 - self.low / 2 <= _LARGEST_RANGE / 2
        low, high = np.where(is_bounded, [self.low, self.high], [[-1.0], [1.0]])
        self.centre, self.half_range = (low + high) / 2, (high - low) / 2

    def __call__(self, action: Any) -> Any:
        """Convert an action, an index or [A], to an element of the space, in its dtype."""
        space = self.space
        if isinstance(space, spaces.Discrete):
            return int(action) + int(space.start)
        if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
            indices = action.reshape(space.shape).astype(space.dtype)
            return indices + space.start if isinstance(space, spaces.MultiDiscrete) else indices
        assert isinstance(space, spaces.Box)
        scaled = self.centre + self.half_range * action
        # A third of the time of np.clip, which matters since this runs at every step.
        clipped = np.minimum(np.maximum(scaled, self.low), self.high)
        if space.dtype is not None and space.dtype.kind != "f":
            clipped = np.rint(clipped)
        return clipped.astype(space.dtype).reshape((*clipped.shape[:-1], *space.shape))

    def batch(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Convert actions [B] or [B, A] to a batch of the space's elements, in its dtype."""
        space = self.space
        if isinstance(space, spaces.Discrete):
            indices: NDArray[Any] = actions.astype(space.dtype) + space.start
            return indices
        if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
            indices = actions.reshape(len(actions), *space.shape).astype(space.dtype)
            return indices + space.start if isinstance(space, spaces.MultiDiscrete) else indices
        scaled: NDArray[Any] = self(actions)
        return scaled
