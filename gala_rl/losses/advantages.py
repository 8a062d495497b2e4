"""Advantages: how much better an action turned out than the policy's average, λ-weighted."""

import torch
from torch import Tensor

from gala_rl.losses.boundaries import EpisodeBoundaries
from gala_rl.losses.means import mean
from gala_rl.losses.returns import following_values, sums_within_episodes
from gala_rl.losses.shapes import check_rollout_shapes


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    boundaries: EpisodeBoundaries,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """Return generalised advantage estimates, GAE(γ, λ), up to the end of the rollout.

    δ_t = r_t + γ V'_t - V(x_t), where V'_t is what follows: V(x_{t+1}), or V(final observation) if
    truncated_t, or 0 if terminated_t;
    A_t = δ_t + γ λ δ_{t+1} + (γ λ)² δ_{t+2} + …, up to the last step of the episode or the rollout.
    λ = 0 is the one-step TD error, λ = 1 the n-step return minus the value.

    "High-Dimensional Continuous Control Using Generalized Advantage Estimation", Schulman et al.
    2016, equation 16, and equation 11 of "Proximal Policy Optimization Algorithms", Schulman et
    al. 2017, for the end of the rollout. A_t + V(x_t) is the TD(λ) return, PPO's value target.

    Args:
        rewards: [T, B] r_t.
        values: [T, B] V(x_t).
        boundaries: ends of episodes and of the rollout.
        discount: γ.
        gae_lambda: λ.

    Returns:
        [T, B] A_t, without gradient.
    """
    check_rollout_shapes(rewards, boundaries, values=values)
    with torch.no_grad():
        deltas = rewards + discount * following_values(values, boundaries) - values
        decays = torch.full_like(deltas, discount * gae_lambda)
        return sums_within_episodes(deltas, decays, boundaries.terminated | boundaries.truncated)


def normalized(advantages: Tensor, weights: Tensor | None = None, epsilon: float = 1e-8) -> Tensor:
    """Return advantages shifted and scaled to mean 0 and standard deviation 1, without gradient.

    The deviation is that of the batch itself (divided by N, as in OpenAI Baselines; PyTorch's
    `std` divides by N - 1), so that a batch of one, or of equals, becomes 0 and not NaN.

    Args:
        advantages: [...] of one batch.
        weights: [...] 1 for a sample that counts, else 0; None: all count.
        epsilon: added to the deviation.
    """
    with torch.no_grad():
        if weights is None:
            deviation = advantages.std(correction=0)
            return (advantages - advantages.mean()) / (deviation + epsilon)
        centred = advantages - mean(advantages, weights)
        return centred / (mean(centred.square(), weights).sqrt() + epsilon)
