"""Simulators that do nothing, as an actor sees them."""

import numpy as np
import pytest

from gala_lab.bench.null_simulators import EPISODE_STEPS, NullSimulators
from gala_rl.envs import Simulators
from gala_rl.spaces import ActionSpec, ObservationSpec

ACTIONS = ActionSpec(2, True)


@pytest.mark.parametrize(
    ("observation", "dtype"),
    [(ObservationSpec((4,), False), np.float32), (ObservationSpec((4, 8, 8), True), np.uint8)],
    ids=["vectors", "images"],
)
def test_observations_are_constant_and_there_are_no_rewards(
    observation: ObservationSpec, dtype: type
) -> None:
    simulators: Simulators = NullSimulators(3, observation, ACTIONS)
    first = simulators.reset(0).copy()
    assert first.shape == (3, *observation.shape)
    assert first.dtype == dtype
    for _ in range(4):
        transition = simulators.step(np.zeros(3, dtype=np.int64))
        np.testing.assert_array_equal(transition.observations, first)
        assert not transition.rewards.any()
        assert not transition.truncated.any()


@pytest.mark.parametrize("count", [1, 3, EPISODE_STEPS + 5])
def test_every_simulator_ends_once_in_the_length_of_an_episode(count: int) -> None:
    simulators = NullSimulators(count, ObservationSpec((4,), False), ACTIONS)
    simulators.reset(0)
    actions = np.zeros(count, dtype=np.int64)
    for length in (None, EPISODE_STEPS):
        ends = np.zeros(count, dtype=np.int64)
        for _ in range(EPISODE_STEPS):
            transition = simulators.step(actions)
            ends += transition.terminated
            ended = np.flatnonzero(transition.terminated).tolist()
            assert [episode.simulator for episode in transition.episodes] == ended
            if length is not None:
                assert {episode.agent_steps for episode in transition.episodes} <= {length}
        assert (ends == 1).all()
