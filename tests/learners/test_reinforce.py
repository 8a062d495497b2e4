"""REINFORCE against a literal oracle: sums of rewards, step by step, and no bootstrapping."""

import copy
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from gala_rl.learners.reinforce import make_learner, reinforce_loss
from gala_rl.methods.reinforce import ReinforceSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Trajectory
from tests.support.learning_problems import (
    CONTINUOUS,
    DISCRETE,
    IMAGE,
    SIMULATORS,
    STEPS,
    VECTOR,
    make_model,
    random_trajectory,
)

SETTINGS = ReinforceSettings(discount=0.8, value_cost=0.7, entropy_cost=0.05)

both = pytest.mark.parametrize("returns", ["episode", "truncated"])
Returns = Literal["episode", "truncated"]


def observed_return(rollout: Trajectory, t: int, b: int, discount: float) -> tuple[float, bool]:
    """The discounted rewards from step t on, and whether the episode ends in the rollout."""
    total = 0.0
    for k in range(t, STEPS):
        total += discount ** (k - t) * rollout.rewards[k, b].item()
        if rollout.terminated[k, b] or rollout.truncated[k, b]:
            return total, True
    return total, False


def loss_by_hand(model: ActorCritic, rollout: Trajectory, settings: ReinforceSettings) -> Tensor:
    terms = []
    for b in range(SIMULATORS):
        for t in range(STEPS):
            total, has_ended = observed_return(rollout, t, b, settings.discount)
            if settings.returns == "episode" and not has_ended:
                continue
            seen = model.evaluate(rollout.observations[t, b : b + 1], rollout.actions[t, b : b + 1])
            advantage = total - seen.values[0]
            terms.append(
                -seen.log_probs[0] * advantage.detach()
                + settings.value_cost * advantage**2
                - settings.entropy_cost * seen.entropies[0]
            )
    return torch.stack(terms).mean()


@both
@pytest.mark.parametrize("observation", [VECTOR, IMAGE], ids=["vector", "image"])
@pytest.mark.parametrize("action", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_the_loss_is_that_of_the_literal_sums(
    observation: ObservationSpec, action: ActionSpec, returns: Returns
) -> None:
    model, rollout = make_model(observation, action), random_trajectory(observation, action, 5)
    settings = replace(SETTINGS, returns=returns)
    loss = reinforce_loss(model, settings, rollout)
    torch.testing.assert_close(loss.total, loss_by_hand(model, rollout, settings))
    ours = torch.autograd.grad(loss.total, list(model.parameters()), retain_graph=True)
    theirs = torch.autograd.grad(loss_by_hand(model, rollout, settings), list(model.parameters()))
    for mine, literal in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, literal, rtol=1e-4, atol=1e-6)


@both
def test_what_the_value_function_says_of_later_observations_does_not_matter(
    returns: Returns,
) -> None:
    model, rollout = make_model(VECTOR, DISCRETE), random_trajectory(VECTOR, DISCRETE, 2)
    settings = replace(SETTINGS, returns=returns)
    other = copy.deepcopy(rollout)
    other.truncation_values.fill_(1e6)
    other.observations[-1].fill_(1e3)
    losses = [reinforce_loss(model, settings, one).total for one in (rollout, other)]
    assert torch.equal(*losses)


def test_a_rollout_in_which_no_episode_ends_teaches_nothing() -> None:
    model, rollout = make_model(VECTOR, DISCRETE), random_trajectory(VECTOR, DISCRETE, 2)
    rollout.terminated.zero_()
    rollout.truncated.zero_()
    learner = make_learner(model, SETTINGS, initial_learning_rate=1e-3, seed=0)
    metrics = learner.update(rollout, 1e-3)
    assert metrics.grad_norm.item() == 0.0
    assert {name: loss.item() for name, loss in metrics.losses.items()} == {
        "policy_loss": 0.0,
        "value_loss": 0.0,
        "entropy": 0.0,
    }
