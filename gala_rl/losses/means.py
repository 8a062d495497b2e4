"""Means over the steps of a rollout that are learned from."""

from torch import Tensor


def mean(x: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of x, or its weighted mean; 0 where all weights are 0.

    Args:
        x: [...] one number per step.
        weights: [...] 1 for a step that counts, 0 for one that does not; None: all count.
    """
    if weights is None:
        return x.mean()
    return (weights * x).sum() / weights.sum().clamp(min=1.0)
