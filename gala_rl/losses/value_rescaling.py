"""Value rescaling: a network predicts h(Q) instead of Q, so that rewards need no clipping."""

import torch
from torch import Tensor

EPSILON = 1e-3
"""ε: the slope of h far from 0, without which h would have no Lipschitz-continuous inverse."""


def rescaled(x: Tensor) -> Tensor:
    """Return h(x) = sign(x) (√(|x| + 1) - 1) + ε x.

    "Observe and Look Further: Achieving Consistent Performance on Atari", Pohlen et al. 2018,
    section 3.2. √(|x| + 1) - 1 is computed as |x| / (√(|x| + 1) + 1), which loses no digits near 0.

    Args:
        x: [...] returns.
    """
    return x / ((x.abs() + 1.0).sqrt() + 1.0) + EPSILON * x


def unscaled(y: Tensor) -> Tensor:
    """Return h⁻¹(y), as in proposition A.2 of the same paper.

    h⁻¹(y) = sign(y) (((√(1 + 4 ε (|y| + 1 + ε)) - 1) / (2 ε))² - 1). In float32 that form errs by
    up to 2e-4 for |y| below 1. With v = √(|x| + 1) - 1 the equation h(x) = y, for a positive x,
    reads ε v² + (1 + 2 ε) v = y. Its root, written without a difference, and x = v (v + 2) lose no
    digits.

    Args:
        y: [...] rescaled values.
    """
    linear = 1.0 + 2.0 * EPSILON
    v = 2.0 * y / (linear + torch.sqrt(linear**2 + 4.0 * EPSILON * y.abs()))
    return v * (v.abs() + 2.0)
