"""Allocates memory for rollouts, with the shapes of an environment and a network."""

import torch
from torch import Tensor

from gala_rl.actors.actor_process import MakeModel
from gala_rl.actors.rollout_slots import RolloutSlots
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import Simulators
from gala_rl.trajectory import Trajectory


def slots_of(actors: int, config: ResolvedConfig, example: tuple[Tensor, ...]) -> RolloutSlots:
    """Allocate the slots of that many actors, one after another."""
    algorithm = config.algorithm
    share = config.simulators // algorithm.actor_count
    like = storage(algorithm.rollout_steps, share, example, torch.device("cpu"))
    return RolloutSlots(actors * algorithm.slots_per_actor, like)


def example_of(make_model: MakeModel, simulators: Simulators) -> tuple[Tensor, ...]:
    """Return an example observation [1, ...], action [1] or [1, A] and state [1, S]."""
    observation = torch.from_numpy(simulators.reset(0))[:1]
    model = make_model(simulators.observation, simulators.action)
    simulators.close()
    state = model.initial_state(1)
    with torch.no_grad():
        action = model.act(observation, torch.Generator(), state)
    return observation, action, state


def storage(
    rollout_steps: int, batch: int, example: tuple[Tensor, ...], device: torch.device
) -> Trajectory:
    """Allocate a batch [T, B] of rollouts shaped like the example."""
    observation, action, state = (x.expand(batch, *x.shape[1:]) for x in example)
    return Trajectory.allocate(
        rollout_steps, observation, action, state, device, with_behaviour=True
    )
