"""Converts observations of a Gymnasium space to one array: an image or a vector of numbers."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gala_rl.envs.validation import InvalidStep, as_finite, as_indices, as_numbers, as_pixels
from gala_rl.errors import UserError
from gala_rl.spaces import SHALLOW_SIDE, ObservationSpec

_MIN_PLANE_SIDE = 5
"""Smaller boolean arrays are vectors; others, such as MinAtar's 10 x 10, are images of planes.
Small uint8 arrays, as of grid worlds, are codes rather than pixels, and so vectors."""

_Keys = tuple[Any, ...]


class Part(NamedTuple):
    """A part of an observation: a space that is no container.

    Attributes:
        keys: names and indices that lead to it, outermost first; empty for the whole observation.
        space: its space.
        spec: spec of its array.
    """

    keys: _Keys
    space: Any
    spec: ObservationSpec


class ObservationEncoder:
    """Convert an observation to an array.

    The parts of Dict and Tuple observations, however deep, are concatenated to a float32 vector,
    sorted by name. Discrete values are one-hot. Images come channels first, in a vector as
    0 … 255, whether the environment has their channels first or last; true and false of boolean
    planes are 255 and 0. Parts that hold text are left out.

    Args:
        space: observation space.
        env: name of the environment, for messages.

    Attributes:
        spec: spec of the array.
        parts: parts that the array consists of.
        is_single: whether the space has no parts.
        left_out: names of the parts that hold text.

    Raises:
        UserError: for a part that no network here can take.
    """

    def __init__(self, space: spaces.Space[Any], env: str) -> None:
        found = list(_parts_of(space))
        texts = [keys for keys, part in found if keys and _is_text(part)]
        self.left_out = tuple(map(part_name, texts))
        self.parts = [
            Part(keys, part, _spec_of(part, keys, env)) for keys, part in found if keys not in texts
        ]
        specs = tuple(part.spec for part in self.parts)
        size = sum(spec.size for spec in specs)
        if size == 0:
            raise UserError(f"env {env!r} has observations without a number: nothing to see")
        self.is_single = bool(self.parts) and not self.parts[0].keys
        self.spec = specs[0] if self.is_single else ObservationSpec((size,), False, specs)

    def __call__(self, observation: Any) -> NDArray[Any]:
        """Convert an observation to an array of the spec's shape, float32, or uint8 of an image.

        Raises:
            InvalidStep: when it is outside the space or not finite; the message names the part.
        """
        if self.is_single:
            _, space, spec = self.parts[0]
            return _array(space, spec, observation, "the observation")
        arrays = [
            _array(
                space, spec, part_at(observation, keys), f"the observation's part {part_name(keys)}"
            )
            for keys, space, spec in self.parts
        ]
        return np.concatenate([array.ravel() for array in arrays], dtype=np.float32)


def _parts_of(space: spaces.Space[Any], keys: _Keys = ()) -> Iterator[tuple[_Keys, Any]]:
    """Yield the keys that lead to each part, outermost first, and the space of the part."""
    if isinstance(space, spaces.Dict):
        # Names may also be numbers, which cannot be compared with strings.
        for name in sorted(space.spaces, key=lambda name: (type(name).__name__, name)):
            yield from _parts_of(space.spaces[name], (*keys, name))
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _parts_of(part, (*keys, index))
    else:
        yield keys, space


def part_at(observation: Any, keys: _Keys) -> Any:
    """Return the part of an observation that the keys lead to.

    Raises:
        InvalidStep: when there is none.
    """
    for depth, key in enumerate(keys, start=1):
        try:
            observation = observation[key]
        except (IndexError, KeyError, TypeError) as error:
            raise InvalidStep(f"the observation has no part {part_name(keys[:depth])}") from error
    return observation


def part_name(keys: _Keys) -> str:
    """Return the name of a part for messages: its keys, joined by dots, in quotes."""
    return repr(".".join(map(str, keys)))


def _is_text(space: spaces.Space[Any]) -> bool:
    return space.dtype is not None and space.dtype.kind == "U"


def image_axes(space: spaces.Space[Any]) -> tuple[int, ...] | None:
    """Return the axes of an image as (channels, height, width): (2, 0, 1) or (0, 1, 2).

    They are () for an image without channels, and None if the space has no images.
    """
    shape = space.shape or ()
    if space.dtype == np.bool_:
        is_planes = len(shape) == 3 and min(shape[:2]) >= _MIN_PLANE_SIDE
        return (2, 0, 1) if is_planes else None
    if space.dtype != np.uint8 or len(shape) not in (2, 3):
        return None
    if min(shape[:2]) >= SHALLOW_SIDE:
        return (2, 0, 1) if len(shape) == 3 else ()
    return (0, 1, 2) if len(shape) == 3 and min(shape[1:]) >= SHALLOW_SIDE else None


def _spec_of(space: spaces.Space[Any], keys: _Keys, env: str) -> ObservationSpec:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return ObservationSpec((int(sizes_of(space).sum()),), False)
    where = f" in part {part_name(keys)}" if keys else ""
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        shape = space.shape
        if (axes := image_axes(space)) is not None:
            sides = tuple(shape[axis] for axis in axes) if axes else (1, *shape)
            return ObservationSpec(sides, True)
        if space.dtype == np.uint8 and sum(side >= SHALLOW_SIDE for side in shape) > 1:
            raise UserError(
                f"env {env!r}: uint8 observations{where} of shape {shape} look like images with "
                f"their axes in another order: bring them to (height, width, channels) by a "
                f"wrapper, or to float32 if they are numbers"
            )
        return ObservationSpec(shape, False)
    without = "; leave the part out by a wrapper such as FilterObservation" if keys else ""
    raise UserError(
        f"env {env!r} has {type(space).__name__} observations{where}: only Box, Discrete, "
        f"MultiDiscrete and MultiBinary, alone or in a Dict or Tuple, can be learned from{without}"
    )


def _array(space: spaces.Space[Any], spec: ObservationSpec, value: Any, name: str) -> NDArray[Any]:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes = sizes_of(space)
        indices = as_indices(value, space.start, sizes, name)
        one_hot = np.zeros(spec.size, dtype=np.float32)
        one_hot[np.cumsum(sizes) - sizes.ravel() + indices.ravel()] = 1.0
        return one_hot
    assert space.shape is not None
    array = as_numbers(value, space.shape, name)
    if not spec.is_image:
        return as_finite(array, name)
    image, axes = as_pixels(array, name), image_axes(space)
    return image.transpose(axes) if axes else image[None]


def sizes_of(space: spaces.Discrete | spaces.MultiDiscrete) -> NDArray[Any]:
    """Return the number of values per discrete component."""
    return space.nvec if isinstance(space, spaces.MultiDiscrete) else np.asarray(space.n)
