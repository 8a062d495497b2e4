"""Distances between learners' parameters, and agreement between their gradients, as measured."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gala_rl.gossip.topology import Topology


class Consensus(NamedTuple):
    """How far apart n parameter vectors are.

    Attributes:
        rms: root mean square Euclidean distance from their mean.
        span: largest Euclidean distance between two of them.
        mean_norm: Euclidean norm of their mean.
    """

    rms: float
    span: float
    mean_norm: float


def consensus(vectors: Tensor) -> Consensus:
    """Distances between the rows of [n, P].

    By the products of all pairs of centred rows, [n, n], rather than pair by pair over P.
    """
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    products = (centred @ centred.t()).double()
    squares = products.diagonal()
    between = squares[:, None] + squares[None, :] - 2.0 * products
    return Consensus(
        rms=float(squares.mean().clamp(min=0.0).sqrt()),
        span=float(between.max().clamp(min=0.0).sqrt()),
        mean_norm=float(torch.linalg.vector_norm(mean)),
    )


def mean_pairwise_cosine(gradients: Tensor) -> float | None:
    """Mean cosine of the angle between two of n gradients [n, P]; None if one of them is zero.

    From the sum of the unit vectors: ‖Σ g/‖g‖‖² counts every pair twice and every vector once.
    """
    count = len(gradients)
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    if count < 2 or not bool((norms > 0).all()):
        return None
    total = torch.linalg.vector_norm((gradients / norms).sum(dim=0), dtype=torch.float64)
    return (float(total) ** 2 - count) / (count * (count - 1))


def radius_in_step(topology: Topology) -> float | None:
    """Largest root mean square distance from the mean, in units of the largest update.

    β / (1 - β) with β = ‖P - J‖₂ if all mix in every round (Assran et al. 2019, Proposition 2);
    None for graphs that change by round or don't keep the mean.
    """
    if topology.period > 1 or not topology.is_doubly_stochastic():
        return None
    learners = topology.learners
    matrix = topology.mixing_matrix(0) - np.full((learners, learners), 1.0 / learners)
    beta = float(np.linalg.norm(matrix, 2))
    return beta / (1.0 - beta) if beta < 1.0 else None
