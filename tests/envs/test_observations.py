"""Encoded observations: parts are concatenated in the order of their names, none is lost."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import make_simulators
from gala_rl.envs.observations import ObservationEncoder
from gala_rl.errors import UserError
from gala_rl.spaces import ObservationSpec
from tests.support.made_up_simulators import pixels

VECTOR = spaces.Box(-1.0, 1.0, (2, 2), np.float32)
PICTURE = spaces.Box(0, 255, (36, 40, 3), np.uint8)


def picture() -> Any:
    return (np.arange(36 * 40 * 3) % 251).reshape(36, 40, 3).astype(np.uint8)


def test_parts_lie_in_the_order_of_their_names_whatever_order_they_were_given_in() -> None:
    inner = spaces.Tuple([spaces.Discrete(3, start=5), spaces.MultiBinary(2)])
    space = spaces.Dict([("z", VECTOR), ("picture", PICTURE), ("a", inner)])
    encode = ObservationEncoder(space, "Env-v0")
    image = ObservationSpec((3, 36, 40), True)
    parts = tuple(ObservationSpec(shape, False) for shape in ((3,), (2,), (2, 2)))
    assert encode.spec == ObservationSpec(
        (3 + 2 + 4 + 36 * 40 * 3,), False, (*parts[:2], image, parts[2])
    )
    seen = encode(
        {
            "z": np.array([[0.5, -0.5], [0.25, 1.0]], dtype=np.float32),
            "picture": picture(),
            "a": (np.int64(6), np.array([1, 0], dtype=np.int8)),
        }
    )
    assert seen.dtype == np.float32
    assert seen.shape == encode.spec.shape
    assert seen[:5].tolist() == [0, 1, 0, 1, 0]
    np.testing.assert_array_equal(seen[5:-4].reshape(3, 36, 40), picture().transpose(2, 0, 1))
    assert seen[-4:].tolist() == [0.5, -0.5, 0.25, 1.0]


@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (spaces.Discrete(4), 2, [0, 0, 1, 0]),
        (spaces.Discrete(3, start=-1), -1, [1, 0, 0]),
        (spaces.MultiDiscrete([2, 3], start=[0, 5]), np.array([1, 6]), [0, 1, 0, 1, 0]),
        (spaces.MultiDiscrete(np.array([[2], [2]])), np.array([[0], [1]]), [1, 0, 0, 1]),
    ],
)
def test_discrete_observations_are_one_hot(
    space: spaces.Space[Any], value: Any, expected: list[int]
) -> None:
    encode = ObservationEncoder(space, "Env-v0")
    assert encode.spec == ObservationSpec((len(expected),), False)
    assert encode(value).tolist() == expected


leaves = st.one_of(
    st.integers(1, 4).map(spaces.Discrete),
    st.lists(st.integers(1, 3), min_size=1, max_size=3).map(spaces.MultiDiscrete),
    st.integers(1, 3).map(spaces.MultiBinary),
    st.lists(st.integers(1, 3), max_size=2).map(lambda shape: spaces.Box(-1, 1, tuple(shape))),
)
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(st.text("abc", min_size=1), inner, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(space=nested, seed=st.integers(0, 1000))
def test_any_space_made_of_these_is_encoded_as_gymnasium_flattens_it(
    space: spaces.Space[Any], seed: int
) -> None:
    encode = ObservationEncoder(space, "Env-v0")
    space.seed(seed)
    value = space.sample()
    seen = encode(value)
    assert seen.shape == encode.spec.shape
    if encode.spec.parts:
        assert sum(part.size for part in encode.spec.parts) == encode.spec.size
    expected = np.asarray(spaces.flatten(space, value), dtype=np.float32)
    np.testing.assert_array_equal(seen.ravel(), expected)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Text(3), "Text observations: only"),
        (
            spaces.Dict({"a": spaces.Dict({"b": spaces.Graph(VECTOR, None)})}),
            "Graph observations in part 'a.b'.*FilterO",
        ),
        (spaces.Dict({"a": spaces.Text(3)}), "without a number"),
        (spaces.Tuple([VECTOR, spaces.Sequence(VECTOR)]), "Sequence observations in part '1'"),
        (spaces.Graph(VECTOR, None), "Graph observations"),
        (spaces.Dict({}), "without a number"),
        (spaces.Box(-1, 1, (0,)), "without a number"),
        (pixels(84, 4, 84), r"\(84, 4, 84\) look like images .* to \(height, width, channels\)"),
        (spaces.Dict({"eye": pixels(40, 3, 36)}), r"in part 'eye' of shape \(40, 3, 36\) look"),
        (pixels(4, 84, 84, 3), "look like images"),
    ],
)
def test_what_no_network_can_take_is_refused_and_named(
    space: spaces.Space[Any], words: str
) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        ObservationEncoder(space, "Env-v0")
    assert "'Env-v0'" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_channels_may_come_first_or_last() -> None:
    image = np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3)
    first = ObservationEncoder(pixels(3, 40, 50), "Env-v0")
    last = ObservationEncoder(pixels(40, 50, 3), "Env-v0")
    assert first.spec == last.spec == ObservationSpec((3, 40, 50), True)
    np.testing.assert_array_equal(first(image.transpose(2, 0, 1)), last(image))


def test_boolean_planes_are_an_image_of_black_and_white() -> None:
    space = spaces.Box(0, 1, (10, 10, 4), bool)  # type: ignore[arg-type]
    encode = ObservationEncoder(space, "Env-v0")
    assert encode.spec == ObservationSpec((4, 10, 10), True)
    planes = space.sample()
    np.testing.assert_array_equal(encode(planes), planes.transpose(2, 0, 1) * 255)


def test_text_beside_numbers_is_left_out() -> None:
    space = spaces.Dict({"mission": spaces.Text(9), "seen": VECTOR})
    encode = ObservationEncoder(space, "Env-v0")
    assert (encode.left_out, encode.spec.shape) == (("'mission'",), (4,))
    value = {"mission": "go", "seen": np.zeros(VECTOR.shape, dtype=np.float32)}
    assert encode(value).shape == (4,)


@pytest.mark.parametrize("shape", [(4, 84), (7, 84, 3), (4, 20, 84), (35, 35, 40), (4000,)])
def test_bytes_that_cannot_be_an_image_are_numbers(shape: tuple[int, ...]) -> None:
    assert ObservationEncoder(pixels(*shape), "Env-v0").spec == ObservationSpec(shape, False)


@pytest.mark.parametrize(("env_id", "size"), [("FrozenLake-v1", 16), ("Blackjack-v1", 32 + 11 + 2)])
def test_environments_with_discrete_observations_can_be_played(env_id: str, size: int) -> None:
    simulators = make_simulators(EnvironmentSource(env_id), 2, 1)
    first = simulators.reset(0)
    assert first.dtype == np.float32
    assert first.shape == (2, size)
    for _ in range(5):
        transition = simulators.step(np.zeros(2, dtype=np.int64))
        assert set(np.unique(transition.observations)) == {0.0, 1.0}
    simulators.close()


def test_simulators_hand_over_parts_as_one_vector_each() -> None:
    simulators = make_simulators(EnvironmentSource("tests.environments:Parts-v0"), 3, 1)
    simulators.reset(0)
    seen = simulators.step(np.zeros((3, 2), dtype=np.int64)).observations
    assert seen.shape == (3, 3 + 36 * 40 * 3 + 3)
    for row in seen:
        number, image, vector = np.split(row, (3, 3 + 36 * 40 * 3))
        assert sorted(number.tolist()) == [0, 0, 1]
        assert set(np.unique(image)) == {0.0, 255.0}
        assert (np.abs(vector) <= 1).all()
    simulators.close()


def test_parts_may_be_named_by_numbers_and_strings_at_once() -> None:
    parts: Any = {"a": spaces.Discrete(2), 10: spaces.Discrete(3), 9: spaces.Discrete(4)}
    seen = ObservationEncoder(spaces.Dict(parts), "Env-v0")({"a": 1, 10: 2, 9: 3})
    assert seen.tolist() == [0, 0, 0, 1, 0, 0, 1, 0, 1]
