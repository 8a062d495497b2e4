"""A step that only reset its simulator changes nothing that a learner learns."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.learners.learner import make_learner
from gala_rl.learners.normalizer import Normalizer
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.reinforce import ReinforceSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.trajectory import Trajectory
from tests.support.learning_problems import DISCRETE, VECTOR, make_model, random_trajectory

ALGORITHMS: list[AlgorithmSettings] = [
    A2CSettings(),
    PPOSettings(minibatches=2, epochs=2),
    PPOSettings(minibatches=1, epochs=2, normalize_advantages=False),
    ImpalaSettings(),
    ReinforceSettings(returns="episode"),
    ReinforceSettings(returns="truncated"),
]

AT = (2, 1)
"""Step and simulator of the reset."""


def with_reset() -> Trajectory:
    """A rollout in which one simulator ends at step 1 and is reset by step 2."""
    trajectory = random_trajectory(VECTOR, DISCRETE, seed=5)
    t, b = AT
    trajectory.truncated.logical_and_(~trajectory.terminated)
    trajectory.terminated[t - 1 : t + 1, b] = True
    trajectory.truncated[t - 1 : t + 1, b] = torch.tensor([False, True])
    trajectory.rewards[t, b] = 0.0
    trajectory.is_first[t : t + 2, b] = True
    behaviour = -torch.rand(
        2, *trajectory.rewards.shape, generator=torch.Generator().manual_seed(1)
    )
    return replace(
        trajectory, has_resets=True, log_probs=behaviour[0] - 1.0, values=behaviour[1].clone()
    )


def learned(settings: AlgorithmSettings, trajectory: Trajectory) -> tuple[Tensor, dict[str, float]]:
    model = make_model(VECTOR, DISCRETE)
    learner = make_learner(model, settings, initial_learning_rate=1e-3, seed=0)
    metrics = learner.update(trajectory, 1e-3)
    return learner.flat.values, {name: x.item() for name, x in metrics.losses.items()}


@pytest.mark.parametrize("settings", ALGORITHMS, ids=lambda s: type(s).__name__)
def test_what_a_reset_step_holds_has_no_effect(settings: AlgorithmSettings) -> None:
    trajectory = with_reset()
    other = copy.deepcopy(trajectory)
    other.actions[AT] = 1 - other.actions[AT]
    other.observations[AT] += 0.5
    for name in ("log_probs", "values"):
        if (tensor := getattr(other, name)) is not None:
            tensor[AT] += 0.3
    parameters, losses = learned(settings, trajectory)
    others, other_losses = learned(settings, other)
    torch.testing.assert_close(parameters, others, rtol=0.0, atol=0.0)
    assert losses == pytest.approx(other_losses, rel=1e-6)
    without_weights, _ = learned(settings, replace(trajectory, has_resets=False))
    assert not torch.equal(parameters, without_weights)


@pytest.mark.parametrize("settings", ALGORITHMS, ids=lambda s: type(s).__name__)
def test_without_a_reset_step_weights_change_nothing(settings: AlgorithmSettings) -> None:
    trajectory = with_reset()
    trajectory.truncated[AT] = False
    plain, plain_losses = learned(settings, replace(trajectory, has_resets=False))
    weighted, losses = learned(settings, trajectory)
    torch.testing.assert_close(weighted, plain, rtol=1e-5, atol=1e-6)
    assert losses == pytest.approx(plain_losses, rel=1e-4)


def test_sums_of_rewards_leave_reset_steps_out() -> None:
    model = ActorCritic(VECTOR, DISCRETE, normalize_rewards=True)
    trajectory = with_reset()
    normalizer = Normalizer(model, 0.0, trajectory)
    rewards = trajectory.rewards.clone()
    normalizer.scale_rewards(trajectory)
    normalizer.absorb(trajectory)
    moments, weights = model.sum_moments, trajectory.weights()
    assert moments is not None
    assert weights is not None
    assert weights.sum() == weights.numel() - 1
    # With a discount of 0 the sums are the rewards.
    expected = rewards[weights > 0].double().var(correction=0).item()
    assert moments.variance.item() == pytest.approx(expected, rel=1e-5)
