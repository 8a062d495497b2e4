"""V-trace: returns and advantages of one policy from rollouts that another one made."""

from typing import NamedTuple

import torch
from torch import Tensor

from gala_rl.losses.boundaries import EpisodeBoundaries
from gala_rl.losses.returns import following_values, sums_within_episodes
from gala_rl.losses.shapes import check_rollout_shapes


class VTrace(NamedTuple):
    """Targets of the value and advantages of the policy; each [T, B], without gradient."""

    targets: Tensor
    advantages: Tensor


def vtrace(
    log_ratios: Tensor,
    rewards: Tensor,
    values: Tensor,
    boundaries: EpisodeBoundaries,
    discount: float,
    *,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
    clip_pg_rho: float = 1.0,
) -> VTrace:
    """Return V-trace targets v_s and the policy gradient's advantages, up to the rollout's end.

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
        values: [T, B] V(x_t).
        boundaries: ends of episodes and of the rollout.
        discount: γ.
        clip_rho: ρ̄, at least c̄.
        clip_c: c̄.
        clip_pg_rho: ρ̄_pg.
    """
    check_rollout_shapes(rewards, boundaries, log_ratios=log_ratios, values=values)
    if not clip_rho >= clip_c:
        raise ValueError(f"clip_rho must be at least clip_c, got {clip_rho} and {clip_c}")
    with torch.no_grad():
        ratios = log_ratios.exp()
        ends = boundaries.terminated | boundaries.truncated
        following = following_values(values, boundaries)
        deltas = ratios.clamp(max=clip_rho) * (rewards + discount * following - values)
        traces = discount * ratios.clamp(max=clip_c)
        targets = values + sums_within_episodes(deltas, traces, ends)
        following = following_values(targets, boundaries)
        advantages = ratios.clamp(max=clip_pg_rho) * (rewards + discount * following - values)
    return VTrace(targets, advantages)
