"""Atari simulators agree with the bare emulator, frame by frame."""

import itertools

import numpy as np
import pytest

from gala_rl.envs import Transition
from tests.envs.games import (
    Frame,
    play,
    random_actions,
    reference,
    simulators,
)


@pytest.fixture(scope="module")
def breakout() -> tuple[list[Transition], list[Frame]]:
    """The same 300 actions in the simulators and in the bare emulator, over a game's end."""
    return play(simulators(), random_actions(300)), reference("breakout", 300)


def test_rewards_are_those_of_the_bare_emulator(
    breakout: tuple[list[Transition], list[Frame]],
) -> None:
    transitions, frames = breakout
    assert [float(t.rewards[0]) for t in transitions] == [np.sign(f.reward) for f in frames]
    assert sum(f.reward for f in frames) > 0


def test_every_lost_life_is_terminated_and_nothing_else_is(
    breakout: tuple[list[Transition], list[Frame]],
) -> None:
    transitions, frames = breakout
    lives = [5, *(5 if f.game_over else f.lives for f in frames)]
    lost = [f.game_over or f.lives < before for f, before in zip(frames, lives, strict=False)]
    assert [bool(t.terminated[0]) for t in transitions] == lost
    assert sum(lost) >= 5


def test_games_are_reported_only_at_their_end_with_the_sum_of_raw_rewards(
    breakout: tuple[list[Transition], list[Frame]],
) -> None:
    transitions, frames = breakout
    expected, score, length = [], 0.0, 0
    for k, frame in enumerate(frames):
        score, length = score + frame.reward, length + 1
        if frame.game_over:
            expected.append((k, score, length))
            score, length = 0.0, 0
    reported = [(k, e.score, e.agent_steps) for k, t in enumerate(transitions) for e in t.episodes]
    assert reported == expected
    assert expected


def test_the_newest_image_is_the_pooled_grey_screen_shrunk_by_area(
    breakout: tuple[list[Transition], list[Frame]],
) -> None:
    transitions, frames = breakout
    for transition, frame in zip(transitions, frames, strict=True):
        if not frame.game_over:
            newest = transition.observations[0, -1].astype(np.float64)
            assert np.abs(newest - frame.image).max() <= 1.0


def test_an_observation_holds_the_last_images_oldest_first(
    breakout: tuple[list[Transition], list[Frame]],
) -> None:
    observations = [t.observations[0] for t in breakout[0][:40]]
    for before, after in itertools.pairwise(observations):
        np.testing.assert_array_equal(after[:-1], before[1:])
    assert any((a != b).any() for a, b in itertools.pairwise(observations))


def test_observations_are_not_overwritten_by_the_next_step() -> None:
    env = simulators()
    env.reset(0)
    first = env.step(np.array([1])).observations
    kept = first.copy()
    for action in (2, 3, 2, 3):
        env.step(np.array([action]))
    np.testing.assert_array_equal(first, kept)
