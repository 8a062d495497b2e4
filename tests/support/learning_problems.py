"""Small networks, and rollouts with everything in them, for tests of updates."""

import torch
from torch import Tensor

from gala_rl.learners import a2c, impala
from gala_rl.learners.gradient_learner import GradientLearner
from gala_rl.learners.learner import Coupling, UpdateMetrics
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Trajectory

STEPS, SIMULATORS = 4, 3
IMAGE = ObservationSpec((2, 36, 36), True)
VECTOR = ObservationSpec((3,), False)
DISCRETE = ActionSpec(4, True)
CONTINUOUS = ActionSpec(2, False)
# Every term counts and nothing is at its default.
SETTINGS = A2CSettings(
    discount=0.8,
    value_cost=0.7,
    entropy_cost=0.05,
    max_grad_norm=2.0,
    rmsprop_decay=0.9,
    rmsprop_epsilon=1e-3,
)


def make_model(observation: ObservationSpec, action: ActionSpec) -> ActorCritic:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return ActorCritic(observation, action)


def random_trajectory(observation: ObservationSpec, action: ActionSpec, seed: int) -> Trajectory:
    """Every flag set somewhere, both at once too."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    observations = uniform(STEPS + 1, SIMULATORS, *observation.shape)
    if action.is_discrete:
        actions = torch.randint(0, action.size, (STEPS, SIMULATORS), generator=generator)
    else:
        actions = 2 * uniform(STEPS, SIMULATORS, action.size) - 1
    terminated, truncated = torch.zeros(2, STEPS, SIMULATORS, dtype=torch.bool)
    terminated[1, 0] = terminated[3, 2] = truncated[2, 1] = truncated[3, 2] = True
    return Trajectory(
        observations=(255 * observations).to(torch.uint8) if observation.is_image else observations,
        actions=actions,
        rewards=2 * uniform(STEPS, SIMULATORS) - 1,
        terminated=terminated,
        truncated=truncated,
        truncation_values=uniform(STEPS, SIMULATORS),
        is_first=torch.zeros(STEPS + 1, SIMULATORS, dtype=torch.bool),
        initial_state=torch.zeros(SIMULATORS, 0),
        final_state=torch.zeros(SIMULATORS, 0),
    )


def scalars(metrics: UpdateMetrics) -> list[float]:
    """The terms of the loss in their order, then the norm of the gradient."""
    names = ("policy_loss", "value_loss", "entropy")
    return [metrics.losses[name].item() for name in names] + [metrics.grad_norm.item()]


def a2c_learner(
    model: ActorCritic, settings: A2CSettings, coupling: Coupling | None = None
) -> GradientLearner:
    return a2c.make_learner(
        model, settings, initial_learning_rate=settings.learning_rate, seed=0, coupling=coupling
    )


def impala_learner(model: ActorCritic, settings: ImpalaSettings) -> GradientLearner:
    return impala.make_learner(
        model, settings, initial_learning_rate=settings.learning_rate, seed=0
    )


def vector_of(model: ActorCritic) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
