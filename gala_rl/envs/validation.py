"""Checks on what environments return: numbers of the right shape, finite, and plain flags."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_SHOWN = 60
_LARGEST = float(np.finfo(np.float32).max)


class InvalidStep(ValueError):
    """An environment returned what cannot be learned from: one line that says what."""


def numbers(value: Any, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """The value as an array of a shape; axes of length one may be missing or too many.

    Raises:
        InvalidStep: when it holds no numbers, or has another shape.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidStep(f"{name} is no array ({error})") from error
    if array.dtype.kind not in "biuf":
        raise InvalidStep(f"{name} is {_shown(value)}, which is no number")
    if array.shape == shape:
        return array
    if _without_ones(array.shape) != _without_ones(shape):
        raise InvalidStep(f"{name} has shape {array.shape}, not {shape}")
    return array.reshape(shape)


def finite(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """The array as float32.

    Raises:
        InvalidStep: when one of its numbers is NaN, infinite, or too large for float32.
    """
    if array.dtype != np.float32:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    # The sum of squares costs a third of the exact check. It may overflow where no number does.
    if not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0]
        at = f" at index {', '.join(map(str, place))}" if len(place) else ""
        raise InvalidStep(f"{name} is {array[tuple(place)]}{at}")
    return array


def pixels(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """The array as uint8.

    Raises:
        InvalidStep: when that would change one of its numbers.
    """
    if array.dtype == np.uint8:
        return array
    if not (np.isfinite(array) & (array >= 0) & (array <= 255) & (array == np.floor(array))).all():
        raise InvalidStep(f"{name} has pixels that are no integers from 0 to 255")
    return array.astype(np.uint8)


def choice(value: Any, start: int, size: int, name: str) -> int:
    """A discrete number, counted from 0.

    Raises:
        InvalidStep: when it is not one of `size` integers from `start` on.
    """
    if not isinstance(value, int | np.integer):
        value = numbers(value, (), name).item()
    chosen = value - start
    if chosen not in range(size):
        raise InvalidStep(f"{name} is {value}, not an integer from {start} to {start + size - 1}")
    return int(chosen)


def choices(value: Any, start: Any, sizes: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Several discrete numbers, each counted from 0; see `choice`."""
    array = numbers(value, sizes.shape, name)
    chosen: NDArray[np.int64] = array.astype(np.int64) - start
    if (chosen + start != array).any() or (chosen < 0).any() or (chosen >= sizes).any():
        first, last = (np.asarray(x).tolist() for x in (start, start + sizes - 1))
        raise InvalidStep(f"{name} is {array.tolist()}, not integers from {first} to {last}")
    return chosen


def reward_of(value: Any) -> float:
    """The reward as a number; arrays of one number are one.

    Raises:
        InvalidStep: when it is none, not finite, or too large for float32.
    """
    if not isinstance(value, float):
        array = np.asarray(value)
        if array.size != 1:
            raise InvalidStep(f"the reward has shape {array.shape}: it must be one number")
        if array.dtype.kind not in "biuf":
            raise InvalidStep(f"the reward is {_shown(value)}, which is no number")
        value = float(array.item())
    if not abs(value) <= _LARGEST:
        raise InvalidStep(f"the reward is {value}")
    return float(value)


def flag(value: Any, name: str) -> bool:
    """Whether an episode ended, as a bool.

    Raises:
        InvalidStep: when it is neither true nor false.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    array = np.asarray(value)
    if array.size != 1 or array.item() not in (0, 1):
        raise InvalidStep(f"{name} is {_shown(value)}, neither True nor False")
    return bool(array.item())


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
