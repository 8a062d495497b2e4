"""The arithmetic of gossip: is a message fit to be mixed, and the mix itself."""

from collections.abc import Sequence

import torch
from torch import Tensor


def defect(parameters: Tensor, size: int) -> str | None:
    """Why a received parameter vector must not be mixed; None when it is sound.

    One pass: a sum of squares is finite only if every element is (and none is beyond 1e18, far
    outside what any network that still learns holds).

    Args:
        parameters: [P] as received.
        size: P of the receiver.
    """
    if parameters.dtype != torch.float32 or parameters.shape != (size,):
        return "wrong size"
    if not torch.isfinite(torch.dot(parameters, parameters)):
        return "not finite"
    return None


def mix_(parameters: Tensor, received: Sequence[Tensor], start: Tensor | None = None) -> None:
    """Replace parameters by the mean of themselves and what was received, in place.

    x ← (x + Σ_j m_j) / (1 + k), GALA's Algorithm 1. With one message it is a single pass.

    Args:
        parameters: [P] x.
        received: k vectors [P] m_j, k at least 1 if `start` is given.
        start: [P] read in place of x, which then is only written.
    """
    mean = parameters if start is None else start
    for count, message in enumerate(received, start=2):
        # A running mean: x + (m - x) / count never leaves the span of x and m.
        there = message.to(parameters.device, non_blocking=True)
        torch.lerp(mean, there, 1.0 / count, out=parameters)
        mean = parameters
