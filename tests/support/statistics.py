"""Tests of counts against probabilities."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def chi_square_p(counts: NDArray[Any], probabilities: NDArray[np.float64]) -> float:
    """Probability of counts [N] at least as far from what is expected; rare ones are pooled."""
    expected = probabilities * counts.sum()
    order = np.argsort(expected)
    pooled_until = int(np.searchsorted(expected[order].cumsum(), 5.0)) + 1
    pools = np.maximum(np.arange(len(counts)) - pooled_until + 1, 0)
    seen = np.bincount(pools, counts[order])
    due = np.bincount(pools, expected[order])
    if len(due) == 1:
        return 1.0
    chi_square = float(((seen - due) ** 2 / due).sum())
    half = torch.tensor([(len(due) - 1) / 2, chi_square / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))
