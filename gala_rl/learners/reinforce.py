"""REINFORCE with a baseline: a policy gradient whose value function never bootstraps."""

from functools import partial

import torch

from gala_rl.learners.gradient_learner import GradientLearner, Loss, evaluate
from gala_rl.losses.boundaries import EpisodeBoundaries
from gala_rl.losses.returns import n_step_returns
from gala_rl.methods.reinforce import ReinforceSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.trajectory import Trajectory


def reinforce_loss(
    network: ActorCritic, settings: ReinforceSettings, trajectory: Trajectory
) -> Loss:
    """Return the loss of a rollout: means over the steps that are learned from.

    G_t = r_t + γ r_{t+1} + … up to the end of the episode or of the rollout, A_t = G_t - V(x_t);
    L = mean(-log π(a_t|x_t) · A_t) + value_cost · mean(A_t²) - entropy_cost · mean(H_t), where A_t
    is a constant in the first term. The factor γ^t of Sutton and Barto 2018, section 13.4, is left
    out, as is common. With returns "episode", the steps after the last end of an episode in the
    rollout have no whole return, and weight 0.
    """
    log_probs, entropies, values = evaluate(network, trajectory)[:3]
    ends = trajectory.terminated | trajectory.truncated
    zeros = torch.zeros_like(trajectory.rewards)
    boundaries = EpisodeBoundaries(ends, torch.zeros_like(ends), zeros, zeros[0])
    returns = n_step_returns(trajectory.rewards, boundaries, settings.discount)
    learned = trajectory.weights()
    weights = torch.ones_like(zeros) if learned is None else learned
    if settings.returns == "episode":
        ends_later = ends.flip(0).cumsum(0).flip(0) > 0
        weights = weights * ends_later
    weights = weights / weights.sum().clamp(min=1.0)
    advantages = returns - values
    policy = -(weights * log_probs * advantages.detach()).sum()
    value = (weights * advantages.square()).sum()
    entropy = (weights * entropies).sum()
    total = policy + settings.value_cost * value - settings.entropy_cost * entropy
    return Loss(total, {"policy_loss": policy, "value_loss": value, "entropy": entropy})


make_learner = partial(GradientLearner, loss=reinforce_loss)
