"""Trajectory storage has the shapes and types of what goes in, and no two fields share memory."""

import dataclasses

import pytest
import torch
from torch import Tensor

from gala_rl.trajectory import Trajectory

CPU = torch.device("cpu")
IMAGES = torch.zeros(3, 4, 6, 5, dtype=torch.uint8)
VECTORS = torch.zeros(3, 2)
DISCRETE = torch.zeros(3, dtype=torch.int64)
CONTINUOUS = torch.zeros(3, 2)
MEMORY, NO_MEMORY = torch.zeros(3, 4), torch.zeros(3, 0)


def fields(trajectory: Trajectory) -> dict[str, Tensor]:
    """All but the activations, which come from outside."""
    found = {f.name: getattr(trajectory, f.name) for f in dataclasses.fields(trajectory)}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("observation", [IMAGES, VECTORS], ids=["images", "vectors"])
@pytest.mark.parametrize("action", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_storage_is_time_major_with_one_observation_more(
    observation: Tensor, action: Tensor
) -> None:
    trajectory = Trajectory.allocate(7, observation, action, NO_MEMORY, CPU)
    assert trajectory.observations.shape == (8, *observation.shape)
    assert trajectory.observations.dtype == observation.dtype
    assert trajectory.actions.shape == (7, *action.shape)
    assert trajectory.actions.dtype == action.dtype
    for flags in (trajectory.terminated, trajectory.truncated):
        assert (tuple(flags.shape), flags.dtype) == ((7, 3), torch.bool)
    for numbers in (trajectory.rewards, trajectory.truncation_values):
        assert (tuple(numbers.shape), numbers.dtype) == ((7, 3), torch.float32)


def test_no_two_fields_share_memory() -> None:
    def allocated() -> dict[str, Tensor]:
        storage = Trajectory.allocate(7, VECTORS, DISCRETE, MEMORY, CPU, with_behaviour=True)
        return fields(storage.with_action_values())

    names = allocated()
    assert {
        "log_probs",
        "values",
        "action_values",
        "initial_state",
        "final_state",
        "is_first",
    } <= set(names)
    for name in names:
        others = allocated()
        others.pop(name).fill_(1)
        assert all(not other.any() for other in others.values()), name


def test_the_examples_are_not_kept() -> None:
    observation = torch.ones(3, 2)
    trajectory = Trajectory.allocate(7, observation, DISCRETE, NO_MEMORY, CPU)
    trajectory.observations.fill_(5.0)
    assert set(observation.flatten().tolist()) == {1.0}


def test_agent_steps_are_steps_times_simulators() -> None:
    assert Trajectory.allocate(7, VECTORS, CONTINUOUS, NO_MEMORY, CPU).agent_steps == 21


@pytest.mark.parametrize("state", [MEMORY, NO_MEMORY], ids=["memory", "none"])
def test_states_are_kept_per_simulator_and_first_observations_per_step(state: Tensor) -> None:
    trajectory = Trajectory.allocate(7, VECTORS, DISCRETE, state, CPU)
    assert trajectory.initial_state.shape == trajectory.final_state.shape == state.shape
    assert (tuple(trajectory.is_first.shape), trajectory.is_first.dtype) == ((8, 3), torch.bool)


def test_a_replay_needs_final_observations_and_the_states_of_a_recurrent_network() -> None:
    plain = Trajectory.allocate(7, IMAGES, DISCRETE, MEMORY, CPU)
    assert plain.final_observations is plain.states is None
    stored = plain.with_replay_fields()
    assert stored.final_observations is not None
    assert stored.final_observations.shape == (7, *IMAGES.shape)
    assert stored.final_observations.dtype == IMAGES.dtype
    assert stored.states is not None
    assert stored.states.shape == (7, *MEMORY.shape)
    assert (
        Trajectory.allocate(7, IMAGES, DISCRETE, NO_MEMORY, CPU).with_replay_fields().states is None
    )
