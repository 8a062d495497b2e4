"""What a network must know of an environment: the shape of observations, the kind of actions."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ObservationSpec:
    """One observation.

    Attributes:
        shape: without batch axis; images are (channels, height, width).
        is_image: uint8 pixels rather than numbers.
    """

    shape: tuple[int, ...]
    is_image: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ActionSpec:
    """One action.

    Attributes:
        size: number of discrete actions, or length of a continuous action vector.
        is_discrete: integers 0 … size - 1 rather than real vectors.
    """

    size: int
    is_discrete: bool
