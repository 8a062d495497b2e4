"""Actions of the policy become those of the space: scaled, clipped, rounded, of its dtype."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala_rl.envs.actions import ActionDecoder

INF, LARGEST = np.inf, float(np.finfo(np.float32).max)


def box(low: float, high: float, dtype: Any = np.float32) -> spaces.Box:
    return spaces.Box(low, high, (1,), dtype)


def decoded(space: spaces.Box, *actions: float) -> NDArray[Any]:
    decode = ActionDecoder(space)
    return np.concatenate([decode(np.array([action], dtype=np.float32)) for action in actions])


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (box(-2, 2), [-2, -2, -1, 0, 2]),
        (box(0, 1000), [0, 0, 250, 500, 1000]),
        (box(0, 0.5, np.float16), [0, 0, 0.125, 0.25, 0.5]),
        (box(3, 3), [3, 3, 3, 3, 3]),
        (box(-INF, INF), [-3, -1, -0.5, 0, 2]),
        (box(0, INF), [0, 0, 0, 0, 2]),
        (box(-LARGEST, LARGEST), [-3, -1, -0.5, 0, 2]),
        (
            box(-np.finfo(np.float64).max, np.finfo(np.float64).max, np.float64),
            [-3, -1, -0.5, 0, 2],
        ),
        (box(0, 21, np.int64), [0, 0, 5, 10, 21]),
        (box(0, 255, np.uint8), [0, 0, 64, 128, 255]),
        (box(-(2**63), 2**63 - 1, np.int64), [-3, -1, 0, 0, 2]),
    ],
    ids=str,
)
def test_minus_one_to_one_spans_finite_bounds_and_keeps_other_numbers(
    space: spaces.Box, expected: list[float]
) -> None:
    given = decoded(space, -3, -1, -0.5, 0, 2)
    np.testing.assert_array_equal(given, np.array(expected, dtype=space.dtype))
    assert given.dtype == space.dtype
    assert all(np.array([number]) in space for number in given)


def test_one_number_without_an_axis_is_decoded_alone_and_in_a_batch() -> None:
    decode = ActionDecoder(spaces.Box(0.0, 4.0, ()))
    alone, batch = decode(np.zeros(1, np.float32)), decode.batch(np.zeros((3, 1), np.float32))
    assert (alone.shape, alone.tolist()) == ((), 2.0)
    assert (batch.shape, batch.tolist()) == ((3,), [2.0, 2.0, 2.0])


def test_each_number_goes_by_its_own_bounds() -> None:
    low, high = np.array([-INF, 0, -1, -2], np.float32), np.array([INF, 10, 1, INF], np.float32)
    legal = ActionDecoder(spaces.Box(low, high))(np.array([7, 0.5, 0.5, -7], dtype=np.float32))
    np.testing.assert_array_equal(legal, np.array([7, 7.5, 0.5, -2], dtype=np.float32))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_bounds_of_one_and_no_bounds_change_nothing_bit_for_bit(numbers: list[float]) -> None:
    action = np.array(numbers, dtype=np.float32)
    for bound in (1.0, INF):
        space = spaces.Box(-bound, bound, action.shape, np.float32)
        np.testing.assert_array_equal(ActionDecoder(space)(action), np.clip(action, -bound, bound))
