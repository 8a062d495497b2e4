"""Episode counters: scores and lengths belong to one simulator and one game."""

import numpy as np

from gala_rl.envs.simulators import Episode, EpisodeCounter


def test_nothing_is_reported_while_no_game_is_over() -> None:
    counter = EpisodeCounter(2)
    assert counter.add(np.array([1.0, 2.0]), np.array([False, False])) == []


def test_a_game_is_reported_with_its_own_score_and_length() -> None:
    counter = EpisodeCounter(3)
    counter.add(np.array([1.0, 10.0, 100.0]), np.zeros(3, dtype=bool))
    reported = counter.add(np.array([2.0, 20.0, 200.0]), np.array([True, False, True]))
    assert reported == [Episode(0, 3.0, 2), Episode(2, 300.0, 2)]


def test_the_next_game_starts_from_zero_while_the_others_go_on() -> None:
    counter = EpisodeCounter(2)
    counter.add(np.array([5.0, 7.0]), np.array([True, False]))
    reported = counter.add(np.array([1.0, 1.0]), np.array([True, True]))
    assert reported == [Episode(0, 1.0, 1), Episode(1, 8.0, 2)]


def test_many_small_rewards_add_up_exactly() -> None:
    counter = EpisodeCounter(1)
    step = np.array([1.0], dtype=np.float32)
    counter.add(np.array([2.0**24], dtype=np.float32), np.array([False]))
    for _ in range(9):
        counter.add(step, np.array([False]))
    # Single precision would stay at 2^24.
    assert counter.add(step, np.array([True])) == [Episode(0, 2.0**24 + 10, 11)]
