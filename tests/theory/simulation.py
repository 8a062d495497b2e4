"""Simulate literally what the theory is about: learners update, then mix."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gala_rl.gossip.topology import Topology

Array = NDArray[np.float64]

Updates = Callable[[int, Array], Array]
"""The updates […, n, d] of a round, given its number and the parameters [n, d] before it."""


def matrices_of(graph: Topology) -> Array:
    return np.stack([graph.mixing_matrix(k) for k in range(graph.period)])


def disagreement(vectors: Array) -> Array:
    mean: Array = vectors.mean(axis=-2, keepdims=True)
    return vectors - mean


def radius(vectors: Array) -> float:
    """Root mean square distance of learners from their mean; over copies too, if there are any."""
    return float(np.sqrt((disagreement(vectors) ** 2).sum(axis=-1).mean()))


def simulate(
    matrices: Array,
    updates: Updates,
    rounds: int,
    dimensions: int,
    *,
    delay: int = 0,
    misses: Callable[[int], NDArray[np.bool_]] | None = None,
) -> list[Array]:
    """Parameters [n, d] after 1, 2, … rounds, or [runs, n, d] if `misses` gives [runs, n]."""
    learners = matrices.shape[1]
    vectors = np.zeros((learners, dimensions))
    sent: list[Array] = []
    history = []
    for k in range(rounds):
        matrix = matrices[k % len(matrices)]
        own = np.diag(matrix)[:, None]
        updated = vectors + updates(k, vectors)
        sent.append(updated)
        old = sent[k - delay] if k >= delay else np.zeros_like(updated)
        mixed = own * updated + (matrix - np.diag(np.diag(matrix))) @ old
        vectors = mixed if misses is None else np.where(misses(k)[..., None], updated, mixed)
        history.append(vectors)
    return history
