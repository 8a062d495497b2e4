"""Running moments: statistics that are stored as parameters without gradient.

They are the last part of a learner's parameter vector, so gossip, checkpoints, restarts and
evaluation include them.
"""

import torch
from torch import Tensor, nn

HORIZON_ROLLOUTS = 1_000
"""A rollout never weighs less than one in this many. The moments follow the policy as it changes,
and a step towards a new rollout never drowns in the rounding of float32."""

LIMIT = 10.0
"""Normalised numbers are clipped to ± this (OpenAI Baselines)."""

_LARGEST = 1e8
"""Numbers count as at most this: the square of a variance must be finite for a message to be."""
_CONSTANT = 1e-20
"""A number with a variance up to this has not varied yet, and is not scaled."""


class RunningMoments(nn.Module):
    """Mean and variance of vectors [D] over the last rollouts; at first 0 and 1.

    The k-th rollout of N vectors has weight w = 1 / min(k, `HORIZON_ROLLOUTS`): with μ' and σ'²
    of the rollout alone and δ = μ' - μ,

        μ ← μ + w δ
        σ² ← (1 - w) σ² + w σ'² + w (1 - w) δ²

    which up to the horizon are the moments of all vectors so far, since every rollout is as long,
    and weighted ones from then on. "Updating formulae and a pairwise algorithm for computing
    sample variances", Chan, Golub & LeVeque 1979.

    Args:
        size: D.

    Attributes:
        mean: [D].
        variance: [D].
        rollouts: number of rollouts counted, at most `HORIZON_ROLLOUTS`; a scalar.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.variance = nn.Parameter(torch.ones(size), requires_grad=False)
        self.rollouts = nn.Parameter(torch.zeros(()), requires_grad=False)

    def normalize(self, x: Tensor) -> Tensor:
        """Subtract the mean, divide by the deviation, clip to ±`LIMIT`: [N, ...] → [N, D]."""
        flat = x.to(torch.float32).reshape(-1, self.mean.numel())
        return self.scale(flat - self.mean)

    def scale(self, x: Tensor) -> Tensor:
        """Divide by the deviation and clip to ±`LIMIT`: [..., D] → [..., D]."""
        varies = self.variance > _CONSTANT
        deviation = torch.where(varies, self.variance, 1.0).sqrt()
        return (x / deviation).clamp(-LIMIT, LIMIT)

    @torch.no_grad()
    def absorb(self, x: Tensor) -> None:
        """Count one rollout into the moments: [N, ...] of any type, N the same each time."""
        # In float64, in which the mean of equal float32 numbers is exactly that number.
        batch = x.to(torch.float64).reshape(-1, self.mean.numel()).clamp(-_LARGEST, _LARGEST)
        weight = 1.0 / self.rollouts.add_(1.0).clamp_(max=HORIZON_ROLLOUTS).double()
        variance, mean = torch.var_mean(batch, dim=0, correction=0)
        delta = mean - self.mean
        spread = variance + (1.0 - weight) * delta.square()
        self.variance.copy_(torch.lerp(self.variance.double(), spread, weight))
        self.mean.copy_(self.mean + weight * delta)
