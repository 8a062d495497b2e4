"""Gymnasium simulators: observations, actions, and refused spaces."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs import (
    make_simulators,
    read_environment,
)
from gala_rl.envs.atari import AtariSimulators
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.errors import UserError
from gala_rl.spaces import ActionSpec
from tests.support.made_up_simulators import COUNTING, inner


@pytest.mark.parametrize(("name", "channels"), [("Colour", 3), ("Grey", 1)])
def test_images_come_channels_first(name: str, channels: int) -> None:
    env = GymnasiumSimulators(EnvironmentSource(f"{name}-v0"), 2)
    first = env.reset(0)
    assert env.observation.shape == (channels, 48, 40)
    assert env.observation.is_image
    assert first.dtype == np.uint8
    pictured = inner(env)._observation().reshape(48, 40, channels)
    for observations in (first, env.step(np.array([0, 0])).observations):
        for channel in range(channels):
            np.testing.assert_array_equal(observations[1, channel], pictured[..., channel])


def test_a_small_grid_of_bytes_is_numbers_and_not_a_picture() -> None:
    env = GymnasiumSimulators(EnvironmentSource("Grid-v0"), 1)
    first = env.reset(0)
    assert env.observation.shape == (7, 7, 3)
    assert not env.observation.is_image
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first[0], inner(env)._observation())


def test_discrete_actions_are_counted_from_the_first_legal_one() -> None:
    env = GymnasiumSimulators(EnvironmentSource("FromThree-v0"), 1)
    env.reset(0)
    assert (env.action.size, env.action.is_discrete) == (4, True)
    for action in range(4):
        env.step(np.array([action]))
    assert inner(env).actions == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "sizes", "chosen", "expected"),
    [
        ("Choices", (2, 3), [1, 2], [6, 1]),
        ("ChoicesInRows", (2, 3, 4, 2), [1, 2, 3, 0], [[1, 2], [3, 0]]),
        ("Switches", (2, 2, 2, 2), [1, 0, 0, 1], [[1, 0], [0, 1]]),
    ],
)
def test_several_actions_come_as_the_environment_wants_them(
    name: str, sizes: tuple[int, ...], chosen: list[int], expected: list[Any]
) -> None:
    env = GymnasiumSimulators(EnvironmentSource(f"{name}-v0"), 2)
    env.reset(0)
    assert env.action == ActionSpec(len(sizes), True, sizes)
    env.step(np.array([[0] * len(sizes), chosen]))
    (given,) = inner(env, 1).actions
    assert given.tolist() == expected
    assert given in inner(env).action_space


def test_continuous_actions_are_scaled_and_clipped_to_what_is_legal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = GymnasiumSimulators(EnvironmentSource("Pendulum-v1"), 3)
    env.reset(0)
    assert (env.action.size, env.action.is_discrete) == (1, False)
    given: list[NDArray[np.float32]] = []
    for wrapped in (guard.env for guard in env.environments):
        step = wrapped.step

        def spy(action: Any, step: Any = step) -> Any:
            given.append(action)
            return step(action)

        monkeypatch.setattr(wrapped, "step", spy)
    env.step(np.array([[-7.0], [0.5], [7.0]], dtype=np.float32))
    np.testing.assert_array_equal(given, [[-2.0], [1.0], [2.0]])
    env.close()


def test_pendulum_is_truncated_by_its_time_limit_and_never_terminated() -> None:
    env = GymnasiumSimulators(EnvironmentSource("Pendulum-v1"), 1)
    env.reset(0)
    transitions = [env.step(np.zeros((1, 1), dtype=np.float32)) for _ in range(201)]
    assert [k for k, t in enumerate(transitions) if t.truncated[0]] == [199]
    assert transitions[199].episodes[0].agent_steps == 200
    env.close()


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("TextSeen-v0", "Text observations"),
        ("NoNumber-v0", "observations without a number"),
        ("NoActions-v0", "Box actions"),
        ("TupleActions-v0", "Tuple actions"),
    ],
)
def test_spaces_that_cannot_be_learned_are_refused_in_one_line(env_id: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        read_environment(EnvironmentSource(env_id))
    assert env_id in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("env_id", "hint"),
    [
        ("CartPol-v1", "did you mean CartPole-v1?"),
        ("CartPole-v9", "did you mean CartPole-v1?"),
        ("CartPole", "has no version: did you mean CartPole-v1?"),
        (
            "tests.environments:Counting",
            "has no version: did you mean tests.environments:Counting-v0?",
        ),
        ("cartpole-v1", "did you mean CartPole-v1?"),
        ("breakout", "use BreakoutNoFrameskip-v4 (the papers' protocol) or ALE/Breakout-v5"),
        ("HalfCheeta-v9", "did you mean HalfCheetah-v5?"),
        ("Corr-v0", "such as CartPole-v1; if a package or file registers it: --env module:Corr-v0"),
        ("MiniGrid-Empty-5x5-v0", "--env module:MiniGrid-Empty-5x5-v0"),
        ("qqqqqq", "give a Gymnasium id such as CartPole-v1"),
        ("", "give a Gymnasium id such as CartPole-v1"),
        ("no_such_module:Game-v0", "No module named 'no_such_module'"),
        ("tests.environments:Counting-v1", "is unknown"),
    ],
)
def test_an_unknown_id_is_refused_with_a_hint(env_id: str, hint: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_environment(EnvironmentSource(env_id))
    assert repr(env_id) in str(refusal.value)
    assert hint in str(refusal.value)


@pytest.mark.parametrize("env_id", [COUNTING, "PongNoFrameskip-v4"])
@pytest.mark.parametrize("protocol", [AtariProtocol(), AtariProtocol(grayscale=False)])
def test_reading_an_environment_returns_the_specs_of_its_simulators(
    env_id: str, protocol: AtariProtocol
) -> None:
    simulators = make_simulators(EnvironmentSource(env_id, atari=protocol), 1, 1)
    assert (
        read_environment(EnvironmentSource(env_id, atari=protocol)).observation
        == simulators.observation
    )
    assert simulators.reset(0).shape == (1, *simulators.observation.shape)
    simulators.close()


def test_ids_choose_the_kind_of_simulators() -> None:
    assert isinstance(make_simulators(EnvironmentSource(COUNTING), 1, 1), GymnasiumSimulators)
    assert isinstance(
        make_simulators(EnvironmentSource("PongNoFrameskip-v4"), 1, 1), AtariSimulators
    )


def test_gymnasium_environments_have_one_frame_a_step() -> None:
    env = GymnasiumSimulators(EnvironmentSource(COUNTING), 5)
    assert (env.frames_per_step, env.count) == (1, 5)
