"""Gymnasium simulators that fail, and those without a state."""

import logging
from typing import Any

import numpy as np
import pytest

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Episode
from gala_rl.envs.guard import MAX_FAILURES_IN_A_ROW
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.errors import SimulatorFailure
from tests.support.made_up_simulators import NeverStarts, inner, play

DRIFTING = "tests.environments:Drifting-v0"
FAILING = "tests.environments:Failing-v0"
ALWAYS_FAILING = "tests.environments:AlwaysFailing-v0"


def test_a_simulator_that_raises_is_rebuilt_and_its_episode_is_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = GymnasiumSimulators(EnvironmentSource(FAILING), 2)
    env.reset(0)
    with caplog.at_level(logging.CRITICAL):
        transitions = play(env, 35)
    # Broken at its 11th step, after a whole game of 7 and 3 steps of the next.
    broken = transitions[10]
    assert broken.truncated.tolist() == [True, True]
    assert broken.terminated.tolist() == [False, False]
    np.testing.assert_array_equal(broken.rewards, [0, 0])
    np.testing.assert_array_equal(broken.final_observations, [[1, 3, 1]] * 2)
    np.testing.assert_array_equal(broken.observations, [[0, 0, -1]] * 2)
    assert broken.episodes == [Episode(i, 1.0 + 2.0 + 3.0, 4) for i in (0, 1)]
    np.testing.assert_array_equal(transitions[11].observations, [[0, 1, 1]] * 2)
    assert [k for k, t in enumerate(transitions) if t.truncated.any()] == [10, 21, 32]
    assert env.failures == 6


def test_a_failure_leaves_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    env = GymnasiumSimulators(EnvironmentSource(FAILING), 1)
    env.reset(0)
    play(env, 11)
    assert FAILING in caplog.text
    assert "RuntimeError: the simulator broke" in caplog.text


def test_a_simulator_that_always_raises_ends_with_its_name_and_its_exception() -> None:
    env = GymnasiumSimulators(EnvironmentSource(ALWAYS_FAILING), 1)
    env.reset(0)
    for _ in range(MAX_FAILURES_IN_A_ROW - 1):
        assert env.step(np.array([0])).truncated.tolist() == [True]
    with pytest.raises(
        SimulatorFailure, match=f"simulator 0 of {ALWAYS_FAILING} .* broke"
    ) as given:
        env.step(np.array([0]))
    assert isinstance(given.value.__cause__, RuntimeError)
    assert env.failures == MAX_FAILURES_IN_A_ROW


def test_a_simulator_that_never_starts_again_ends_with_its_own_exception() -> None:
    NeverStarts.started = 0
    env = GymnasiumSimulators(EnvironmentSource("Ends-v0"), 1)
    env.reset(0)
    with pytest.raises(SimulatorFailure, match=r"in reset\(\) .* OSError: .*does not start"):
        env.step(np.array([0]))
    assert env.failures == MAX_FAILURES_IN_A_ROW


def test_a_restored_simulator_that_breaks_at_once_repeats_its_last_observation() -> None:
    env = GymnasiumSimulators(EnvironmentSource(DRIFTING), 1)
    env.reset(1)
    play(env, 4)
    state = env.get_state()
    assert state is not None
    other = GymnasiumSimulators(EnvironmentSource(DRIFTING), 1)
    other.reset(2)
    other.set_state(state)

    def broken(action: int) -> Any:
        raise RuntimeError("broken")

    inner(other).step = broken
    transition = other.step(np.array([0]))
    np.testing.assert_array_equal(transition.final_observations, state["observations"])


def test_an_environment_without_a_state_has_none_to_save() -> None:
    env = GymnasiumSimulators(EnvironmentSource("CartPole-v1"), 2)
    env.reset(0)
    assert env.get_state() is None
    env.close()
