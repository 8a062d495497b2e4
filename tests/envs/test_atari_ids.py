"""Ids of Atari games: their meaning, and those that are refused."""

import numpy as np
import pytest

from gala_rl.config.settings import AtariProtocol
from gala_rl.envs.ids import atari_game
from gala_rl.errors import UserError
from tests.envs.games import play, random_actions, simulators


@pytest.mark.parametrize(
    ("env_id", "meaning"),
    [
        ("PongNoFrameskip-v4", ("pong", 0.0)),
        ("PongNoFrameskip-v0", ("pong", 0.25)),
        ("ALE/Pong-v5", ("pong", 0.25)),
        ("MsPacmanNoFrameskip-v4", ("ms_pacman", 0.0)),
        ("ALE/SpaceInvaders-v5", ("space_invaders", 0.25)),
    ],
)
def test_an_id_means_its_game_and_its_sticky_actions(
    env_id: str, meaning: tuple[str, float]
) -> None:
    assert atari_game(env_id) == meaning


@pytest.mark.parametrize(
    "env_id",
    ["CartPole-v0", "CartPole-v1", "tests.environments:Counting-v0"],
)
def test_other_ids_are_not_taken_for_atari(env_id: str) -> None:
    assert atari_game(env_id) is None


@pytest.mark.parametrize(
    ("env_id", "what"),
    [
        ("Pong-v4", "skips a random number of frames"),
        ("Pong-v0", "skips a random number of frames"),
        ("Pong", "has no version"),
        ("ALE/Pong", "has no version"),
        ("PongNoFrameskip", "has no version"),
        ("Pong-v5", "is unknown"),
        ("ALE/Pong-v4", "is unknown"),
        ("PongNoFrameskip-v5", "is unknown"),
        ("Pong-v1", "is unknown"),
        ("Pong-ram-v4", "is unknown"),
        ("ale_py:Pong-v4", "skips a random number of frames"),
    ],
)
def test_ids_whose_meaning_cannot_be_kept_are_refused_with_the_remedy(
    env_id: str, what: str
) -> None:
    with pytest.raises(UserError, match=rf"'{env_id}' {what}: use PongNoF.*-v4 .*ALE/Pong-v5"):
        atari_game(env_id)


@pytest.mark.parametrize("env_id", ["PonggNoFrameskip-v4", "ALE/Pnog-v5"])
def test_an_unknown_game_is_refused_with_a_guess(env_id: str) -> None:
    with pytest.raises(UserError, match=rf"'{env_id}' is unknown: did you mean the game Pong"):
        atari_game(env_id)


def test_a_game_like_no_other_is_refused_in_whole_sentences() -> None:
    with pytest.raises(UserError, match=r"there is no such game\. Games are written like"):
        atari_game("ALE/Xyzzy-v5")


def test_an_id_of_another_kind_of_environment_builds_no_atari_simulators() -> None:
    with pytest.raises(UserError, match="CartPole-v1"):
        simulators("CartPole-v1")


def seeds_matter(env_id: str, sticky: float | None) -> bool:
    """Whether two seeds differ though the games start alike: only sticky actions are left."""
    env = simulators(env_id, protocol=AtariProtocol(noop_max=0, sticky_actions=sticky))
    actions = random_actions(60)
    runs = [np.stack([t.observations for t in play(env, actions, seed)]) for seed in (1, 2)]
    env.close()
    return bool((runs[0] != runs[1]).any())


@pytest.mark.parametrize(
    ("env_id", "sticky", "expected"),
    [
        ("BreakoutNoFrameskip-v4", None, False),
        ("ALE/Breakout-v5", None, True),
        ("BreakoutNoFrameskip-v4", 0.25, True),
        ("ALE/Breakout-v5", 0.0, False),
    ],
)
def test_sticky_actions_follow_the_id_unless_they_are_set(
    env_id: str, sticky: float | None, expected: bool
) -> None:
    assert seeds_matter(env_id, sticky) is expected
