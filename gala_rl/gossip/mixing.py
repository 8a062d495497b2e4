"""Validate a received parameter vector, and mix parameters by averaging."""

from collections.abc import Sequence

import torch
from torch import Tensor


def defect(parameters: Tensor, size: int) -> str | None:
    """Return why a received parameter vector must not be mixed; None if it is valid.

    One pass over memory: a sum of squares is finite only if every element is (and none exceeds
    1e18, far more than any parameter of a network that still learns).

    Args:
        parameters: [P] as received.
        size: P of the receiver.

    Returns:
        "wrong size", also for another dtype than float32, "not finite", or None.
    """
    if parameters.dtype != torch.float32 or parameters.shape != (size,):
        return "wrong size"
    if not torch.isfinite(torch.dot(parameters, parameters)):
        return "not finite"
    return None


def mix_(parameters: Tensor, received: Sequence[Tensor], start: Tensor | None = None) -> None:
    """Average parameters with received ones, in place.

    x ← (x + Σ_j m_j) / (1 + k), from Algorithm 1 of GALA (Assran et al. 2019,
    https://arxiv.org/abs/1906.04585). One message takes a single pass over memory.

    Args:
        parameters: [P] x; overwritten by the mean.
        received: k vectors [P] m_j; k is at least 1 if `start` is given.
        start: [P] read instead of x, which is then only written.
    """
    mean = parameters if start is None else start
    for count, message in enumerate(received, start=2):
        # A running mean: x + (m - x) / count never leaves the interval between x and m.
        there = message.to(parameters.device, non_blocking=True)
        torch.lerp(mean, there, 1.0 / count, out=parameters)
        mean = parameters
