"""Gymnasium simulators: ends of episodes, failures, seeds, saved states."""

import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gala_rl.config.environment import EnvironmentSource
from gala_rl.envs import Episode
from gala_rl.envs.guard import MAX_FAILURES_IN_A_ROW
from gala_rl.envs.gymnasium import GymnasiumSimulators
from gala_rl.errors import SimulatorFailure
from tests.support.made_up_simulators import COUNTING, NeverStarts, inner, play

TRUNCATED = "tests.environments:CountingTruncated-v0"
DRIFTING = "tests.environments:Drifting-v0"
FAILING = "tests.environments:Failing-v0"
ALWAYS_FAILING = "tests.environments:AlwaysFailing-v0"


def test_an_episodes_end_shows_the_first_observation_of_the_next() -> None:
    env = GymnasiumSimulators(EnvironmentSource(COUNTING), 2)
    np.testing.assert_array_equal(env.reset(0), [[0, 0, -1]] * 2)
    transitions = play(env, 8)
    seen = [t.observations[0].tolist() for t in transitions]
    assert seen == [[0, k, 1] for k in range(1, 7)] + [[1, 0, -1], [1, 1, 1]]
    assert [t.rewards[1] for t in transitions] == [1, 2, 3, 4, 5, 6, 7, 1]
    assert [t.terminated.tolist() for t in transitions] == [[k == 6] * 2 for k in range(8)]
    assert not any(t.truncated.any() for t in transitions)
    assert all(t.final_observations is None for t in transitions)


def test_a_truncated_episode_hands_over_its_final_observation() -> None:
    env = GymnasiumSimulators(EnvironmentSource(TRUNCATED), 2)
    env.reset(0)
    transitions = play(env, 8)
    assert [t.truncated.tolist() for t in transitions] == [[k == 6] * 2 for k in range(8)]
    assert not any(t.terminated.any() for t in transitions)
    final = transitions[6].final_observations
    assert final is not None
    np.testing.assert_array_equal(final, [[0, 7, 1]] * 2)
    np.testing.assert_array_equal(transitions[6].observations, [[1, 0, -1]] * 2)
    assert all(t.final_observations is None for k, t in enumerate(transitions) if k != 6)


def test_episodes_are_reported_with_score_and_length() -> None:
    env = GymnasiumSimulators(EnvironmentSource(COUNTING), 2)
    env.reset(0)
    reported = [(k, e) for k, t in enumerate(play(env, 14)) for e in t.episodes]
    assert reported == [(k, Episode(i, 28.0, 7)) for k in (6, 13) for i in (0, 1)]


def test_an_end_that_is_both_counts_as_terminated() -> None:
    NeverStarts.started = -1
    env = GymnasiumSimulators(EnvironmentSource("Ends-v0"), 1)
    env.reset(0)
    transition = env.step(np.array([0]))
    assert (transition.terminated[0], transition.truncated[0]) == (True, False)
    assert transition.final_observations is None


def test_a_transition_keeps_its_values_when_the_simulators_go_on() -> None:
    env = GymnasiumSimulators(EnvironmentSource(TRUNCATED), 1)
    first = env.reset(0)
    seventh = play(env, 7)[-1]
    play(env, 7)
    np.testing.assert_array_equal(first, [[0, 0, -1]])
    np.testing.assert_array_equal(seventh.observations, [[1, 0, -1]])
    np.testing.assert_array_equal(seventh.final_observations, [[0, 7, 1]])


def stream(env: GymnasiumSimulators, seed: int) -> NDArray[np.float32]:
    first = env.reset(seed)
    return np.stack([first, *(t.observations for t in play(env, 60))])


def test_the_seed_fixes_everything_and_simulators_differ() -> None:
    one, two = (
        GymnasiumSimulators(EnvironmentSource(DRIFTING), 3),
        GymnasiumSimulators(EnvironmentSource(DRIFTING), 3),
    )
    first = stream(one, 1)
    np.testing.assert_array_equal(first, stream(two, 1))
    np.testing.assert_array_equal(first, stream(one, 1))
    assert len({first[0, i].tobytes() for i in range(3)}) == 3
    assert (first[0] != stream(two, 2)[0]).all()


def test_starting_over_forgets_the_games_under_way() -> None:
    env = GymnasiumSimulators(EnvironmentSource(COUNTING), 1)
    env.reset(0)
    play(env, 3)
    env.reset(0)
    assert [e for t in play(env, 7) for e in t.episodes] == [Episode(0, 28.0, 7)]


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


def test_a_saved_state_continues_bit_for_bit() -> None:
    env = GymnasiumSimulators(EnvironmentSource(DRIFTING), 3)
    env.reset(1)
    play(env, 40, action=2)
    state = env.get_state()
    assert state is not None
    frozen = {name: array.copy() for name, array in state.items()}
    expected = play(env, 60)

    other = GymnasiumSimulators(EnvironmentSource(DRIFTING), 3)
    other.reset(99)
    play(other, 5)
    other.set_state(state)
    for left, right in zip(expected, play(other, 60), strict=True):
        for name in ("observations", "rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name), name)
        assert left.episodes == right.episodes
    assert sum(len(t.episodes) for t in expected) >= 6
    # A state is a snapshot: neither simulator has written into it.
    assert all((state[name] == frozen[name]).all() for name in frozen)


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
