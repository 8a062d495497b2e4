"""Specs of an environment's observations and actions, from which networks are built."""

import math
from dataclasses import dataclass
from typing import Literal

EnvKind = Literal["atari", "discrete", "continuous"]
"""Kind of environment, on which default settings depend: an ALE game, or the kind of actions."""

Backend = Literal["gymnasium", "ale", "gym-vec", "envpool", "jax"]
"""What steps the simulators: one Python object each, or an implementation that steps all at once:
ALE's C++ threads, a vector environment of Gymnasium, EnvPool's C++ threads, a function of JAX."""


NetworkKind = Literal["small", "shallow", "deep"]
"""Networks for images, by the number of their convolutions: 1, 3 and 15."""

Activation = Literal["tanh", "relu", "silu"]
"""Activation of layers for vectors."""

HIDDEN = (64, 64)
"""Units of each layer for vectors, unless others are given."""

SHALLOW_SIDE = 36
"""Smallest side of an image into which the three convolutions of the shallow network fit."""


@dataclass(frozen=True)
class ObservationSpec:
    """Shape and type of one observation.

    Attributes:
        shape: shape without batch axis; images are (channels, height, width).
        is_image: uint8 pixels rather than float32 numbers.
        parts: specs of the parts that are concatenated to the vector; empty if there are none.
            Pixels of image parts are numbers in 0 … 255.
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
        """Whether the observation or one of its parts is an image."""
        return self.is_image or any(part.is_image for part in self.parts)


@dataclass(frozen=True)
class ActionSpec:
    """Type and size of one action.

    Attributes:
        size: number of discrete actions to choose from, or length of an action vector.
        is_discrete: integers from 0 rather than real vectors.
        sizes: for an action of several discrete components, the number of choices per component;
            `size` is then the number of components. Empty for any other action.
    """

    size: int
    is_discrete: bool
    sizes: tuple[int, ...] = ()

    @property
    def kind(self) -> EnvKind:
        """Kind of an environment with these actions that is no Atari game."""
        return "discrete" if self.is_discrete else "continuous"


@dataclass(frozen=True)
class EnvironmentSpec:
    """Properties of an environment that a run's settings and networks depend on.

    Attributes:
        kind: kind of environment, on which default settings depend.
        backend: what steps the simulators.
        observation: spec of one simulator's observation.
        action: spec of one simulator's action.
        frames_per_step: environment frames per agent step.
    """

    kind: EnvKind
    backend: Backend
    observation: ObservationSpec
    action: ActionSpec
    frames_per_step: int
