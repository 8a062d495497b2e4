"""Atari simulators: lives, clipping, truncation and random starts."""

import itertools

import numpy as np
import pytest

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs.atari import AtariSimulators
from tests.envs.games import (
    BREAKOUT,
    FREEWAY,
    SIDE,
    TALL,
    WIDE,
    emulator,
    grey,
    play,
    random_actions,
    reference,
    shrunk,
    simulators,
)


def test_the_game_goes_on_after_a_lost_life() -> None:
    env = simulators(protocol=AtariProtocol(noop_max=0))
    transitions = play(env, random_actions(120))
    first_loss = next(k for k, t in enumerate(transitions) if t.terminated[0])
    around = [t.observations[0, -1].astype(int) for t in transitions[first_loss - 1 :][:2]]
    # A new game would show a full wall: more than a paddle and a ball would have moved.
    assert (np.abs(around[1] - around[0]) > 20).sum() < 100
    assert not transitions[first_loss].episodes


@pytest.mark.parametrize("setting", ["protocol", "training"])
def test_without_life_loss_terminals_only_the_end_of_the_game_is_terminated(setting: str) -> None:
    protocol = AtariProtocol(noop_max=0, fire_reset=False, life_loss_terminal=setting != "protocol")
    env = simulators(protocol=protocol, training=setting != "training")
    transitions = play(env, random_actions(300))
    ends = [k for k, f in enumerate(reference("breakout", 300)) if f.game_over]
    assert [k for k, t in enumerate(transitions) if t.terminated[0]] == ends
    assert ends


@pytest.mark.parametrize(
    ("clip_rewards", "training", "clipped"),
    [(True, True, True), (False, True, False), (True, False, False)],
)
def test_clipping_changes_the_training_rewards_but_never_the_score(
    clip_rewards: bool, training: bool, clipped: bool
) -> None:
    protocol = AtariProtocol(
        noop_max=0, fire_reset=False, clip_rewards=clip_rewards, max_episode_frames=1200
    )
    env = simulators("SpaceInvadersNoFrameskip-v4", 1, protocol, training)
    transitions = play(env, random_actions(300, actions=6))
    raw = [f.reward for f in reference("space_invaders", 300)]
    expected = np.sign(raw) if clipped else raw
    np.testing.assert_array_equal([float(t.rewards[0]) for t in transitions], expected)
    assert max(raw) > 1
    assert [e.score for t in transitions for e in t.episodes] == [sum(raw)]


def test_a_long_game_is_truncated_with_its_final_observation() -> None:
    protocol = AtariProtocol(noop_max=0, fire_reset=False, max_episode_frames=40)
    env = simulators(count=2, protocol=protocol)
    long = simulators(count=2)
    actions = random_actions(11, count=2)
    cut, whole = play(env, actions), play(long, actions)
    assert [t.truncated.tolist() for t in cut] == [[k == 9] * 2 for k in range(11)]
    final = cut[9].final_observations
    assert final is not None
    np.testing.assert_array_equal(final[:, :-1], whole[9].observations[:, :-1])
    # The emulator leaves out the very last screen of a game that it cuts.
    assert (final[:, -1] != whole[9].observations[:, -1]).mean() < 0.01
    assert (cut[9].observations != final).any()
    assert [(e.simulator, e.agent_steps) for e in cut[9].episodes] == [(0, 10), (1, 10)]
    assert all(t.final_observations is None for k, t in enumerate(cut) if k != 9)


def test_every_cut_game_is_reported_even_when_games_are_shorter_than_their_random_start() -> None:
    env = simulators(count=4, protocol=AtariProtocol(max_episode_frames=8))
    transitions = play(env, random_actions(16, count=4))
    cuts = [[i for i in range(4) if t.truncated[i]] for t in transitions]
    assert [[e.simulator for e in t.episodes] for t in transitions] == cuts
    assert sum(map(len, cuts)) > 16


def test_terminated_and_truncated_are_never_both() -> None:
    # Breakout's ball is lost at much the same time in each game: some cut must coincide.
    actions = random_actions(150)
    losses = [k + 1 for k, t in enumerate(play(simulators(), actions)) if t.terminated[0]]
    protocol = AtariProtocol(noop_max=0, fire_reset=False, max_episode_frames=4 * losses[0])
    last = play(simulators(protocol=protocol), actions[: losses[0]])[-1]
    assert (bool(last.terminated[0]), bool(last.truncated[0])) == (True, False)
    assert [e.agent_steps for e in last.episodes] == [losses[0]]


def test_the_number_of_simulators_and_threads_does_not_mix_them_up() -> None:
    actions = random_actions(30, count=3)
    one, many = (
        AtariSimulators(EnvironmentSource(BREAKOUT), 3, threads, True) for threads in (1, 3)
    )
    for left, right in zip(play(one, actions), play(many, actions), strict=True):
        np.testing.assert_array_equal(left.observations, right.observations)
        np.testing.assert_array_equal(left.rewards, right.rewards)


def test_games_start_with_different_numbers_of_no_ops_up_to_the_maximum() -> None:
    def starts(noop_max: int) -> set[bytes]:
        env = simulators(FREEWAY, 4, AtariProtocol(noop_max=noop_max))
        return {image.tobytes() for image in env.reset(0)[:, -1]}

    assert len(starts(0)) == 1
    assert len(starts(30)) > 2


def test_no_op_starts_are_frames_that_the_emulator_shows_within_the_maximum() -> None:
    env = simulators(FREEWAY, 5, AtariProtocol(noop_max=5))
    ale = emulator("freeway")
    shown = []
    for _ in range(6):
        shown.append(shrunk(grey(ale)))
        ale.act(0)
    for image in env.reset(3)[:, -1].astype(np.float64):
        assert min(np.abs(image - screen).max() for screen in shown) <= 1.0


def test_fire_is_pressed_at_the_start_of_a_game_that_needs_it() -> None:
    def ball_moves(fire_reset: bool) -> bool:
        env = simulators(protocol=AtariProtocol(noop_max=0, fire_reset=fire_reset))
        images = [t.observations[0, -1] for t in play(env, np.zeros((20, 1), dtype=np.int64))]
        return any((a != b).any() for a, b in itertools.pairwise(images))

    assert ball_moves(True)
    assert not ball_moves(False)


def test_colour_images_have_three_channels_for_each_image_of_the_stack() -> None:
    env = simulators(protocol=AtariProtocol(noop_max=0, fire_reset=False, grayscale=False))
    first = env.reset(0)
    assert env.observation.shape == (12, SIDE, SIDE)
    assert first.shape == (1, 12, SIDE, SIDE)
    ale = emulator("breakout")
    screen = np.asarray(ale.getScreenRGB()).reshape(TALL, WIDE, 3)
    for channel in range(3):
        newest = first[0, -3 + channel].astype(np.float64)
        assert np.abs(newest - shrunk(screen[..., channel])).max() <= 1.0


@pytest.mark.parametrize(("stack", "size"), [(4, 84), (2, 64)])
def test_specs_tell_what_the_simulators_give(stack: int, size: int) -> None:
    env = simulators(count=2, protocol=AtariProtocol(frame_stack=stack, image_size=size))
    observations = env.reset(0)
    assert env.observation.is_image
    assert observations.shape == (2, *env.observation.shape) == (2, stack, size, size)
    assert observations.dtype == np.uint8
    assert env.count == 2


@pytest.mark.parametrize(("full", "size"), [(False, 4), (True, 18)])
def test_actions_are_the_games_own_or_all(full: bool, size: int) -> None:
    env = simulators(protocol=AtariProtocol(full_action_space=full))
    assert env.action.size == size
    assert env.action.is_discrete
    env.reset(0)
    assert env.step(np.array([size - 1])).rewards.shape == (1,)


def test_frames_per_step_is_the_frame_skip_and_an_action_is_held_that_long() -> None:
    env = simulators(protocol=AtariProtocol(noop_max=0, fire_reset=False, frame_skip=2))
    assert env.frames_per_step == 2
    actions = random_actions(60)
    slow = play(env, actions.repeat(2, axis=0))
    fast = play(simulators(), actions)
    for k in range(40):
        np.testing.assert_array_equal(
            fast[k].observations[0, -1], slow[2 * k + 1].observations[0, -1]
        )


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_play_the_games_that_one_group_would(groups: int) -> None:
    protocol = AtariProtocol(max_episode_frames=80)
    one, several = (
        AtariSimulators(EnvironmentSource(BREAKOUT, atari=protocol), 5, 1, True, n)
        for n in (1, groups)
    )
    assert [rows.stop - rows.start for rows in several.groups] == {2: [2, 3], 3: [1, 2, 2]}[groups]
    np.testing.assert_array_equal(one.reset(3), several.reset(3))
    games = 0
    for actions in random_actions(50, 5):
        expected = one.step(actions)
        for group, rows in enumerate(several.groups):
            several.send(actions[rows], group)
        for group, rows in enumerate(several.groups):
            got = several.recv(group)
            for name in ("observations", "rewards", "terminated", "truncated"):
                np.testing.assert_array_equal(getattr(got, name), getattr(expected, name)[rows])
            ended = range(rows.start, rows.stop)
            assert got.episodes == [e for e in expected.episodes if e.simulator in ended]
            if got.truncated.any():
                assert got.final_observations is not None
                assert expected.final_observations is not None
                cut = got.truncated
                np.testing.assert_array_equal(
                    got.final_observations[cut], expected.final_observations[rows][cut]
                )
        games += len(expected.episodes)
    assert games > 5


def test_one_step_of_all_is_for_one_group_only() -> None:
    with pytest.raises(ValueError, match="too many values"):
        AtariSimulators(EnvironmentSource(BREAKOUT), 4, 1, True, 2).step(random_actions(1, 4)[0])
