"""Checks and converts values that environments return: observations, rewards and flags."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_SHOWN = 60
_LARGEST = float(np.finfo(np.float32).max)


RESET = ("observation", "info")
STEP = ("observation", "reward", "terminated", "truncated", "info")
"""What the two methods of an environment return."""


class InvalidStep(ValueError):
    """Raised for an invalid value from an environment; the message is one line."""


def unpacked(answer: Any, *names: str) -> tuple[Any, ...]:
    """Return the values of an environment's answer.

    Raises:
        InvalidStep: when it is no tuple of as many values as there are names.
    """
    if isinstance(answer, tuple) and len(answer) == len(names):
        return answer
    what = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
    raise InvalidStep(f"it returned {what}, not ({', '.join(names)})")


def as_numbers(value: Any, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Convert a value to an array of a shape; axes of length one may be missing or too many.

    Raises:
        InvalidStep: when the value holds no numbers or has another shape.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidStep(f"{name} is no array ({error})") from error
    _check_numeric(array, value, name)
    if array.shape == shape:
        return array
    if _without_ones(array.shape) != _without_ones(shape):
        raise InvalidStep(f"{name} has shape {array.shape}, not {shape}")
    return array.reshape(shape)


def as_finite(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Convert an array to float32.

    Raises:
        InvalidStep: when a number is NaN, infinite or too large for float32.
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


def as_pixels(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Convert an array to uint8; true is 255.

    Raises:
        InvalidStep: when that would change a number.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if not (np.isfinite(array) & (array >= 0) & (array <= 255) & (array == np.floor(array))).all():
        raise InvalidStep(f"{name} has pixels that are no integers from 0 to 255")
    return array.astype(np.uint8)


def as_indices(value: Any, start: Any, sizes: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Convert discrete values to indices from 0.

    Args:
        value: value of a MultiDiscrete space, or of a Discrete one, which has the shape ().
        start: smallest values.
        sizes: number of values each, in the shape of the space.
        name: name of the value in the message.

    Raises:
        InvalidStep: when the value is not in the space.
    """
    array = as_numbers(value, sizes.shape, name)
    with np.errstate(invalid="ignore"):
        indices: NDArray[np.int64] = array.astype(np.int64) - start
    if ((indices + start != array) | (indices < 0) | (indices >= sizes)).any():
        what = "integers" if sizes.ndim else "an integer"
        first, last = (np.asarray(x).tolist() for x in (start, start + sizes - 1))
        raise InvalidStep(f"{name} is {array.tolist()}, not {what} from {first} to {last}")
    return indices


def as_reward(value: Any) -> float:
    """Convert a number, or an array of one number, to a float.

    Raises:
        InvalidStep: when the value is no number, not finite, or too large for float32.
    """
    if not isinstance(value, float):
        array = np.asarray(value)
        if array.size != 1:
            raise InvalidStep(f"the reward has shape {array.shape}: it must be one number")
        _check_numeric(array, value, "the reward")
        value = float(array.item())
    if not abs(value) <= _LARGEST:
        raise InvalidStep(f"the reward is {value}")
    return float(value)


def as_flag(value: Any, name: str) -> bool:
    """Convert `terminated` or `truncated` to a bool.

    Raises:
        InvalidStep: when the value is neither true nor false.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    array = np.asarray(value)
    if array.size != 1 or array.item() not in (0, 1):
        raise InvalidStep(f"{name} is {_shown(value)}, neither True nor False")
    return bool(array.item())


def as_rewards(values: Any, count: int) -> NDArray[np.float32]:
    """Convert the rewards of `count` simulators to float32 [count].

    Raises:
        InvalidStep: when they have another shape, are no numbers or not finite.
    """
    return as_finite(as_numbers(values, (count,), "the array of rewards"), "the array of rewards")


def as_flags(values: Any, count: int, name: str) -> NDArray[np.bool_]:
    """Convert `terminated` or `truncated` of `count` simulators to bool [count].

    Raises:
        InvalidStep: when they have another shape, or are neither true nor false.
    """
    flags = as_numbers(values, (count,), f"the array {name}")
    if flags.dtype != np.bool_ and not np.isin(flags, (0, 1)).all():
        raise InvalidStep(f"the array {name} has numbers that are neither True nor False")
    return flags.astype(np.bool_, copy=False)


def _check_numeric(array: NDArray[Any], value: Any, name: str) -> None:
    if array.dtype.kind not in "biuf":
        raise InvalidStep(f"{name} is {_shown(value)}, which is no number")


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
