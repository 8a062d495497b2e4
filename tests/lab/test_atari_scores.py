"""Scores beside random play, people and published agents."""

import math

import ale_py
import gymnasium
import pytest

from gala_lab.atari_scores import (
    ATARI_5,
    PUBLISHED,
    RANDOM_AND_HUMAN,
    estimated_median,
    game_of,
    human_normalized,
)


def test_all_57_games_are_named_as_gymnasium_names_them() -> None:
    gymnasium.register_envs(ale_py)
    games = {spec.removeprefix("ALE/").removesuffix("-v5") for spec in gymnasium.registry}
    assert len(RANDOM_AND_HUMAN) == 57
    assert set(RANDOM_AND_HUMAN) <= games
    assert {game for published in PUBLISHED for game in published.scores} <= games


def test_the_game_is_found_in_every_kind_of_id() -> None:
    assert game_of("PongNoFrameskip-v4") == "Pong"
    assert game_of("ALE/SpaceInvaders-v5") == "SpaceInvaders"
    assert game_of("Qbert-v4") == "Qbert"
    assert game_of("CartPole-v1") is None
    assert game_of("pgx:minatar-breakout") is None


def test_random_play_is_0_and_people_are_1() -> None:
    for game, (random, human) in RANDOM_AND_HUMAN.items():
        assert human_normalized(game, random) == 0.0
        assert human_normalized(game, human) == 1.0
    assert human_normalized("Pong", 21.0) == pytest.approx((21.0 + 20.7) / (14.6 + 20.7))


def test_the_estimate_is_a_weighted_geometric_mean() -> None:
    people = {game: RANDOM_AND_HUMAN[game][1] for game in ATARI_5}
    # Each game counts 101 to the power of its weight; weights add up to .9633.
    assert estimated_median(people) == pytest.approx((101 ** sum(ATARI_5.values()) - 1) / 100)
    assert estimated_median(dict.fromkeys(ATARI_5, -math.inf)) == 0.0
    with pytest.raises(KeyError):
        estimated_median({"Qbert": 100.0})
