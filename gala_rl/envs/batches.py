"""Converts observations of a vector environment, all simulators at once, to one array."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gala_rl.envs.observations import (
    ObservationEncoder,
    Part,
    image_axes,
    part_at,
    part_name,
    sizes_of,
)
from gala_rl.envs.validation import InvalidStep, as_finite, as_pixels


class BatchEncoder:
    """Convert observations of B simulators, batched part by part, as `ObservationEncoder` does one.

    Args:
        space: observation space of one simulator.
        env: name of the environment, for messages.

    Attributes:
        spec: spec of one simulator's array.
        one: converts one simulator's observation.

    Raises:
        UserError: for a part that no network here can take.
    """

    def __init__(self, space: spaces.Space[Any], env: str) -> None:
        self.one = ObservationEncoder(space, env)
        self.spec = self.one.spec

    def __call__(self, observations: Any, count: int) -> NDArray[Any]:
        """Convert observations of `count` simulators to [count, ...], float32 or uint8 of images.

        Raises:
            InvalidStep: when a part has another shape or a number that is not finite.
        """
        arrays = []
        for part in self.one.parts:
            name, array = _name(part), np.asarray(part_at(observations, part.keys))
            _check_shape(part, array, count)
            arrays.append(_batch(part.space, part.spec.is_image, array, name))
        if self.one.is_single:
            return arrays[0]
        flat = [array.reshape(count, -1) for array in arrays]
        return np.concatenate(flat, axis=1, dtype=np.float32)

    def check_shapes(self, observations: Any, count: int) -> None:
        """Check parts of which only shape and dtype are known.

        Raises:
            InvalidStep: when a part is missing, has another shape or holds no numbers.
        """
        for part in self.one.parts:
            _check_shape(part, part_at(observations, part.keys), count)


def _name(part: Part) -> str:
    return f"the observations' part {part_name(part.keys)}" if part.keys else "observations"


def _check_shape(part: Part, array: Any, count: int) -> None:
    shape = (count, *part.space.shape)
    if not hasattr(array, "shape"):
        raise InvalidStep(f"{_name(part)} are {type(array).__name__}, not an array")
    if array.shape != shape:
        raise InvalidStep(f"{_name(part)} have shape {array.shape}, not {shape}")
    if array.dtype.kind not in "biuf":
        raise InvalidStep(f"{_name(part)} have dtype {array.dtype}, which is no number's")


def _batch(
    space: spaces.Space[Any], is_image: bool, array: NDArray[Any], name: str
) -> NDArray[Any]:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return _one_hot(space, array.reshape(len(array), -1), name)
    if not is_image:
        return as_finite(array, name)
    images, axes = as_pixels(array, name), image_axes(space)
    return images.transpose(0, *(axis + 1 for axis in axes)) if axes else images[:, None]


def _one_hot(
    space: spaces.Discrete | spaces.MultiDiscrete, values: NDArray[Any], name: str
) -> NDArray[np.float32]:
    """[B, D] values of D discrete components → [B, sum of their sizes]."""
    sizes = np.ravel(sizes_of(space))
    indices = values.astype(np.int64) - np.ravel(space.start)
    if ((indices < 0) | (indices >= sizes)).any():
        raise InvalidStep(f"{name} are outside of {space}")
    one_hot = np.zeros((len(values), int(sizes.sum())), dtype=np.float32)
    np.put_along_axis(one_hot, np.cumsum(sizes) - sizes + indices, 1.0, axis=1)
    return one_hot
