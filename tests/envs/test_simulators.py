"""Episode counters: scores are summed in double precision."""

import numpy as np

from gala_rl.envs.simulators import Episode, EpisodeCounter


def test_many_small_rewards_add_up_exactly() -> None:
    counter = EpisodeCounter(1)
    step = np.array([1.0], dtype=np.float32)
    counter.add(np.array([2.0**24], dtype=np.float32), np.array([False]))
    for _ in range(9):
        counter.add(step, np.array([False]))
    # Single precision would stay at 2^24.
    assert counter.add(step, np.array([True])) == [Episode(0, 2.0**24 + 10, 11)]
