"""Converts observations of a Gymnasium space to one array: an image or a vector of numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gala_rl.envs.validation import InvalidStep, as_finite, as_indices, as_numbers, as_pixels
from gala_rl.errors import UserError
from gala_rl.spaces import ObservationSpec

_MIN_IMAGE_SIDE = 36
"""Smaller uint8 arrays, as of grid worlds, are vectors: convolutions do not fit into them."""

_Keys = tuple[Any, ...]


class ObservationEncoder:
    """Convert an observation to an array.

    The parts of Dict and Tuple observations, however deep, are concatenated to a float32 vector,
    sorted by name. Discrete values are one-hot. Images come channels first, in a vector as
    0 … 255.

    Args:
        space: observation space.
        env_id: Gymnasium id, for error messages.

    Attributes:
        spec: spec of the array.

    Raises:
        UserError: for a part that no network here can take.
    """

    def __init__(self, space: spaces.Space[Any], env_id: str) -> None:
        self._parts = [
            (keys, part, _spec_of(part, keys, env_id)) for keys, part in _parts_of(space)
        ]
        specs = tuple(spec for _, _, spec in self._parts)
        size = sum(spec.size for spec in specs)
        if size == 0:
            raise UserError(f"env {env_id!r} has observations without a number: nothing to see")
        self._is_single = bool(self._parts) and not self._parts[0][0]
        self.spec = specs[0] if self._is_single else ObservationSpec((size,), False, specs)

    def __call__(self, observation: Any) -> NDArray[Any]:
        """Convert an observation to an array of the spec's shape, float32, or uint8 of an image.

        Raises:
            InvalidStep: when it is outside the space or not finite; the message names the part.
        """
        if self._is_single:
            _, space, spec = self._parts[0]
            return _array(space, spec, observation, "the observation")
        arrays = [
            _array(space, spec, _part(observation, keys), f"the observation's part {_name(keys)}")
            for keys, space, spec in self._parts
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


def _part(observation: Any, keys: _Keys) -> Any:
    for depth, key in enumerate(keys, start=1):
        try:
            observation = observation[key]
        except (IndexError, KeyError, TypeError) as error:
            raise InvalidStep(f"the observation has no part {_name(keys[:depth])}") from error
    return observation


def _name(keys: _Keys) -> str:
    return repr(".".join(map(str, keys)))


def _spec_of(space: spaces.Space[Any], keys: _Keys, env_id: str) -> ObservationSpec:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return ObservationSpec((int(_sizes_of(space).sum()),), False)
    where = f" in part {_name(keys)}" if keys else ""
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        shape = space.shape
        is_image = space.dtype == np.uint8 and len(shape) in (2, 3)
        if is_image and min(shape[:2]) >= _MIN_IMAGE_SIDE:
            channels = shape[2] if len(shape) == 3 else 1
            return ObservationSpec((channels, *shape[:2]), True)
        if space.dtype == np.uint8 and sum(side >= _MIN_IMAGE_SIDE for side in shape) > 1:
            raise UserError(
                f"env {env_id!r}: uint8 observations{where} of shape {shape} look like images with "
                f"their axes in another order: bring them to (height, width, channels) by a "
                f"wrapper, or to float32 if they are numbers"
            )
        return ObservationSpec(shape, False)
    without = "; leave the part out by a wrapper such as FilterObservation" if keys else ""
    raise UserError(
        f"env {env_id!r} has {type(space).__name__} observations{where}: only Box, Discrete, "
        f"MultiDiscrete and MultiBinary, alone or in a Dict or Tuple, can be learned from{without}"
    )


def _array(space: spaces.Space[Any], spec: ObservationSpec, value: Any, name: str) -> NDArray[Any]:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes = _sizes_of(space)
        indices = as_indices(value, space.start, sizes, name)
        one_hot = np.zeros(spec.size, dtype=np.float32)
        one_hot[np.cumsum(sizes) - sizes.ravel() + indices.ravel()] = 1.0
        return one_hot
    assert space.shape is not None
    array = as_numbers(value, space.shape, name)
    if not spec.is_image:
        return as_finite(array, name)
    image = as_pixels(array, name)
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


def _sizes_of(space: spaces.Discrete | spaces.MultiDiscrete) -> NDArray[Any]:
    return space.nvec if isinstance(space, spaces.MultiDiscrete) else np.asarray(space.n)
