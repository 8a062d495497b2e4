"""V-trace: returns and advantages of one policy from rollouts that another one made."""

from typing import NamedTuple

import torch
from torch import Tensor

from gala_rl.losses.returns import following_values, sums_within_episodes
from gala_rl.losses.shapes import check_rollout_shapes


class VTrace(NamedTuple):
    """What the value and the policy learn from; each [T, B], without gradient."""

    targets: Tensor
    advantages: Tensor


def vtrace(
    log_ratios: Tensor,
    rewards: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    truncation_values: Tensor,
    values: Tensor,
    bootstrap_values: Tensor,
    discount: float,
    *,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
    clip_pg_rho: float = 1.0,
) -> VTrace:
    """V-trace targets v_s and the policy gradient's advantages, up to the end of the rollout.

    ρ_t = min(ρ̄, π/μ), c_t = min(c̄, π/μ), δ_t = ρ_t (r_t + γ V'_t - V(x_t)), where V'_t is what
    follows: V(x_{t+1}), or V(final observation) if truncated_t, or 0 if terminated_t;
    v_s = V(x_s) + Σ_{t ≥ s} γ^{t-s} (c_s ⋯ c_{t-1}) δ_t, up to the last step of the episode or the
    rollout; A_s = min(ρ̄_pg, π/μ) (r_s + γ v'_s - V(x_s)), where v'_s is what follows among targets.
    ρ̄ sets whose value is learned, c̄ how fast. If π = μ, v_s is the n-step return (c̄, ρ̄ ≥ 1).

    "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures",
    Espeholt et al. 2018, equation 1 and section 4.2, whose policy gradient uses ρ̄ for ρ̄_pg.

    Args:
        log_ratios: [T, B] log π(a_t|x_t) - log μ(a_t|x_t): π learns, μ has acted.
        rewards: [T, B] r_t.
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        truncation_values: [T, B] V(final observation) where truncated; else ignored.
        values: [T, B] V(x_t).
        bootstrap_values: [B] V(x_T).
        discount: γ.
        clip_rho: ρ̄, at least c̄.
        clip_c: c̄.
        clip_pg_rho: ρ̄_pg.
    """
    check_rollout_shapes(
        rewards,
        bootstrap_values,
        log_ratios=log_ratios,
        terminated=terminated,
        truncated=truncated,
        truncation_values=truncation_values,
        values=values,
    )
    if not clip_rho >= clip_c:
        raise ValueError(f"clip_rho must be at least clip_c, got {clip_rho} and {clip_c}")
    with torch.no_grad():
        ratios = log_ratios.exp()
        borders = (bootstrap_values, terminated, truncated, truncation_values)
        following = following_values(values, *borders)
        deltas = ratios.clamp(max=clip_rho) * (rewards + discount * following - values)
        traces = discount * ratios.clamp(max=clip_c)
        targets = values + sums_within_episodes(deltas, traces, terminated | truncated)
        following = following_values(targets, *borders)
        advantages = ratios.clamp(max=clip_pg_rho) * (rewards + discount * following - values)
    return VTrace(targets, advantages)
