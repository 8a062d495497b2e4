"""What a run must know of an environment: the shape of observations, the kind of actions."""

import math
from dataclasses import dataclass
from typing import Literal

EnvKind = Literal["atari", "discrete", "continuous"]
"""What the settings of papers depend on: an ALE game, or else the kind of its actions."""


@dataclass(frozen=True)
class ObservationSpec:
    """One observation.

    Attributes:
        shape: without batch axis; images are (channels, height, width).
        is_image: uint8 pixels rather than numbers.
        parts: of what the vector is made, one behind the other; empty where it is not made of
            parts. Pixels in it are numbers in 0 … 255.
    """

    shape: tuple[int, ...]
    is_image: bool
    parts: tuple["ObservationSpec", ...] = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def has_pixels(self) -> bool:
        """Whether it is an image, or one of its parts is."""
        return self.is_image or any(part.is_image for part in self.parts)


@dataclass(frozen=True)
class ActionSpec:
    """One action.

    Attributes:
        size: number of discrete actions to choose from, or length of an action vector.
        is_discrete: integers from 0 rather than real vectors.
        sizes: where an action is several discrete ones, the number of choices of each; `size` is
            then how many they are. Empty where it is one.
    """

    size: int
    is_discrete: bool
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class EnvironmentSpec:
    """What a run is set up by, before its simulators are built.

    Attributes:
        kind: what the settings of papers depend on.
        observation: of one simulator.
        action: of one simulator.
        frames_per_step: environment frames of an agent step.
    """

    kind: EnvKind
    observation: ObservationSpec
    action: ActionSpec
    frames_per_step: int
