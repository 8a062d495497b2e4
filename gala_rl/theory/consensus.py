"""Measure distances between learners' parameters and the similarity of their gradients."""

from typing import NamedTuple

import torch
from torch import Tensor


class Consensus(NamedTuple):
    """Distances between n parameter vectors.

    Attributes:
        rms: root mean square Euclidean distance from their mean.
        distances: Euclidean distance of each from their mean.
        span: largest Euclidean distance between two of them.
        mean_norm: Euclidean norm of their mean.
    """

    rms: float
    distances: list[float]
    span: float
    mean_norm: float


def consensus(vectors: Tensor) -> Consensus:
    """Return the distances between the rows of [n, P].

    Computed from the Gram matrix [n, n] of the centred rows, rather than pair by pair over P.
    """
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    products = (centred @ centred.t()).double()
    squares = products.diagonal()
    between = squares[:, None] + squares[None, :] - 2.0 * products
    return Consensus(
        rms=float(squares.mean().clamp(min=0.0).sqrt()),
        distances=squares.clamp(min=0.0).sqrt().tolist(),
        span=float(between.max().clamp(min=0.0).sqrt()),
        mean_norm=float(torch.linalg.vector_norm(mean)),
    )


def mean_pairwise_cosine(gradients: Tensor) -> float | None:
    """Return the mean cosine between pairs of n gradients [n, P]; None if one of them is zero.

    Computed from the sum of unit vectors: ‖Σ g/‖g‖‖² counts each pair twice, each vector once.
    """
    count = len(gradients)
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    if count < 2 or not bool((norms > 0).all()):
        return None
    total = torch.linalg.vector_norm((gradients / norms).sum(dim=0), dtype=torch.float64)
    return (float(total) ** 2 - count) / (count * (count - 1))
