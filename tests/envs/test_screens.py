"""A screen plays the game that a simulator plays, in colour."""

import numpy as np
import pytest

from gala_rl.config.environment import EnvironmentSource
from gala_rl.config.settings import AtariProtocol
from gala_rl.envs import make_simulators
from gala_rl.envs.screens import ATARI_SIZE, open_screen
from gala_rl.errors import UserError

PAINTED = EnvironmentSource("make:tests.environments.painted:Painted")
ATARI = EnvironmentSource(
    "ALE/Breakout-v5", atari=AtariProtocol(frame_skip=5, max_episode_frames=1_500)
)


def test_atari_games_are_equal_step_by_step() -> None:
    simulators, screen = make_simulators(ATARI, 3, 1, training=False), open_screen(ATARI)
    simulators.reset(11)
    (image,) = screen.reset(11)
    rng, scored, ended = np.random.default_rng(0), 0.0, 0
    for _ in range(700):
        assert image.shape == (*ATARI_SIZE, 3)
        actions = rng.integers(4, size=3)
        transition = simulators.step(actions)
        (image,), reward = screen.step(actions[0])
        assert reward == transition.rewards[0]
        scored += reward
        ended += sum(episode.simulator == 0 for episode in transition.episodes)
        assert image.std(axis=(0, 1)).min() > 0, "in colour, not black"
    assert scored > 0
    assert ended > 1
    assert screen.images_per_second == 12
    screen.close()
    simulators.close()


def test_a_screen_shows_the_last_moment_of_a_game_and_not_the_next_one() -> None:
    simulators, screen = make_simulators(PAINTED, 2, 1, training=False), open_screen(PAINTED)
    simulators.reset(5)
    (image,) = screen.reset(5)
    assert tuple(image[0, 0]) == (0, 0, 0)
    for step in range(1, 10):
        transition = simulators.step(np.ones(2, dtype=np.int64))
        (image,), reward = screen.step(np.array(1))
        assert (reward, tuple(image[0, 0])) == (1.0, (step, step, 0))
        if transition.terminated[0]:
            break
    assert transition.terminated[0]
    assert screen.images_per_second == 10
    screen.close()


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("make:tests.environments.painted:Blank", "render() returned no RGB image but NoneType"),
        ("make:tests.environments.painted:without_a_mode", "'render_mode'"),
        ("gym-vec:CartPole-v1", "only Atari games and Gymnasium environments"),
    ],
)
def test_what_has_no_screen_is_told_in_one_line(env: str, words: str) -> None:
    with pytest.raises(UserError, match=f"env '{env}' cannot be shown") as raised:
        open_screen(EnvironmentSource(env))
    assert words in str(raised.value)
