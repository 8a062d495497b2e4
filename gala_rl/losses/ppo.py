"""The clipped surrogate loss of proximal policy optimisation."""

from typing import NamedTuple

import torch
from torch import Tensor

from gala_rl.losses.means import mean
from gala_rl.losses.shapes import check_equal_shapes


class PPOLoss(NamedTuple):
    """The loss, its three terms and the change of the policy; each a scalar mean.

    Attributes:
        total: the loss to minimise.
        policy: the clipped surrogate, negated.
        value: mean squared value error, clipped if asked for.
        entropy: entropy of the policy.
        clip_fraction: share of samples whose ratio is outside 1 ± clip_range; without gradient.
        approx_kl: estimate of KL(old policy ‖ policy); without gradient.
    """

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor


def ppo_loss(
    *,
    log_probs: Tensor,
    old_log_probs: Tensor,
    entropies: Tensor,
    values: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    clip_range: float,
    value_clip_range: float | None,
    value_cost: float,
    entropy_cost: float,
    weights: Tensor | None = None,
) -> PPOLoss:
    """Return clipped surrogate loss, squared value error and entropy bonus; all means.

    With the ratio ρ = π(a|x) / π_old(a|x):
    L = -mean(min(ρ A, clip(ρ, 1 - ε, 1 + ε) A)) + value_cost · mean((R - V)²)
    - entropy_cost · mean(H).
    With a value range ε_v the squared error is the larger of that of V and that of
    V_old + clip(V - V_old, -ε_v, ε_v), as in OpenAI Baselines' ppo2.

    "Proximal Policy Optimization Algorithms", Schulman et al. 2017, equations 7 and 9, whose c_1
    is value_cost. Code that takes half the mean square (ppo2) means value_cost = half its
    coefficient. `approx_kl` is mean(ρ - 1 - log ρ) ("Approximating KL divergence", Schulman 2020).

    Args:
        log_probs: [...] log π(a|x).
        old_log_probs: [...] log π_old(a|x) of the policy that acted; constant.
        entropies: [...] H(π(·|x)).
        values: [...] V(x).
        old_values: [...] V_old(x), from before the first step on this rollout; constant.
        advantages: [...] A; constant.
        returns: [...] R; constant.
        clip_range: ε.
        value_clip_range: ε_v, in units of the value; None: not clipped.
        value_cost: weight of the value error.
        entropy_cost: weight of the entropy.
        weights: [...] 1 for a sample that is learned from, else 0; None: all are.
    """
    check_equal_shapes(
        returns=returns,
        log_probs=log_probs,
        old_log_probs=old_log_probs,
        entropies=entropies,
        values=values,
        old_values=old_values,
        advantages=advantages,
    )
    log_ratios = log_probs - old_log_probs.detach()
    ratios = log_ratios.exp()
    clipped = ratios.clamp(1.0 - clip_range, 1.0 + clip_range)
    advantages = advantages.detach()
    policy = -mean(torch.minimum(ratios * advantages, clipped * advantages), weights)
    errors = _squared_errors(values, old_values.detach(), returns.detach(), value_clip_range)
    value, entropy = mean(errors, weights), mean(entropies, weights)
    total = policy + value_cost * value - entropy_cost * entropy
    return PPOLoss(total, policy, value, entropy, *_policy_change(log_ratios, clip_range, weights))


@torch.no_grad()
def _policy_change(
    log_ratios: Tensor, clip_range: float, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return `clip_fraction` and `approx_kl`."""
    ratios = log_ratios.exp()
    is_clipped = (ratios - 1.0).abs() > clip_range
    return mean(is_clipped.to(ratios.dtype), weights), mean(ratios - 1.0 - log_ratios, weights)


def _squared_errors(
    values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float | None
) -> Tensor:
    errors = (returns - values).square()
    if clip_range is None:
        return errors
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return torch.maximum(errors, (returns - clipped).square())
