"""Slots of rollouts: what is written to one is read from it, whole and alone."""

import torch

from gala_rl.actors.rollout_slots import RolloutInfo, RolloutSlots
from gala_rl.envs import Episode
from gala_rl.trajectory import Trajectory
from tests.actors.scripted import SHARE, STEPS, stamped


def test_the_state_of_a_recurrent_network_crosses_by_simulator() -> None:
    memory = torch.zeros(SHARE, 5)
    observation, actions = torch.zeros(SHARE, 3), torch.zeros(SHARE, dtype=torch.int64)
    cpu = torch.device("cpu")
    rollout = Trajectory.allocate(STEPS, observation, actions, memory, cpu, with_behaviour=True)
    rollout.initial_state.copy_(torch.arange(SHARE * 5).view(SHARE, 5))
    rollout.is_first[2, 1] = True
    slots = RolloutSlots(1, rollout)
    slots.write(0, rollout, 1, [], 0)
    two = memory.repeat(2, 1)
    observation, actions = observation.repeat(2, 1), actions.repeat(2)
    into = Trajectory.allocate(STEPS, observation, actions, two, cpu, with_behaviour=True)
    slots.read(0, into, slice(SHARE, 2 * SHARE))
    assert into.initial_state.tolist() == [[0] * 5, [0] * 5, [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert into.is_first.nonzero().tolist() == [[2, 3]]


def test_slots_keep_rollouts_apart() -> None:
    slots = RolloutSlots(2, stamped(0))
    slots.write(0, stamped(5), 7, [], 0)
    slots.write(1, stamped(6), 8, [Episode(3, -2.5, 40, ended_at=1795697001.231)], 1)
    into = stamped(0)
    slots.read(0, into, slice(0, SHARE))
    assert (into.rewards == 5).all()
    assert [slots.info(1, item) for item in RolloutInfo] == [8, 1, 1]
    assert slots.episodes(1) == [Episode(3, -2.5, 40)]
    assert slots.episodes(1)[0].ended_at == 1795697001.231
    assert slots.episodes(0) == []


def test_final_observations_cross_where_episodes_were_cut_and_states_everywhere() -> None:
    def storage(simulators: int) -> Trajectory:
        observations, state = torch.zeros(simulators, 3), torch.zeros(simulators, 2)
        actions = torch.zeros(simulators, dtype=torch.int64)
        cpu = torch.device("cpu")
        made = Trajectory.allocate(STEPS, observations, actions, state, cpu, with_behaviour=True)
        return made.with_replay_fields()

    rollout, into = storage(SHARE), storage(2 * SHARE)
    assert rollout.final_observations is not None
    assert rollout.states is not None
    assert into.final_observations is not None
    assert into.states is not None
    rollout.final_observations.fill_(7.0)
    rollout.truncated[1, 1] = True
    rollout.states.copy_(torch.arange(rollout.states.numel()).view(rollout.states.shape))
    slots = RolloutSlots(1, rollout)
    slots.write(0, rollout, 1, [], 0)
    slots.read(0, into, slice(SHARE, 2 * SHARE))
    assert into.final_observations.any(dim=2).nonzero().tolist() == [[1, SHARE + 1]]
    assert torch.equal(into.states[:, SHARE:], rollout.states)
    assert not into.states[:, :SHARE].any()
