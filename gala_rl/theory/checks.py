"""What the theory assumes of mixing matrices and messages; whatever departs from it is named."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gala_rl.errors import UserError
from gala_rl.gossip.topology import Topology

_ROUNDING = 1e-6
"""Weights come from float32 as well."""


def check_mixing(weights: ArrayLike) -> NDArray[np.float64]:
    """A mixing matrix [n, n]: entry [i, j] is the weight that learner i gives to learner j.

    Raises:
        UserError: when it is not square, a weight is negative or not finite, weights of a learner
            do not sum to 1, a learner gives itself none, or some learner never hears of another.
    """
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise UserError(
            f"mixing matrix has the shape {list(matrix.shape)}: "
            "it needs a row and a column for each learner"
        )
    for receiver, sender in np.argwhere(~(np.isfinite(matrix) & (matrix >= 0))):
        raise UserError(
            f"mixing matrix: edge [{sender}, {receiver}] has the weight "
            f"{matrix[receiver, sender]:g}: weights are 0 or more"
        )
    for learner, row in enumerate(matrix):
        if abs(row.sum() - 1) > _ROUNDING:
            raise UserError(
                f"mixing matrix: weights of learner {learner} sum to {row.sum():.9g}: "
                "divide them by that, they must sum to 1"
            )
        if len(matrix) > 1 and row[learner] == 0:
            raise UserError(
                f"mixing matrix: learner {learner} gives itself no weight: "
                "parameters may go round for ever without coming closer"
            )
    check_connected(_graph(matrix))
    return matrix


def _graph(matrix: NDArray[np.float64]) -> Topology:
    heard = (np.flatnonzero(row) for row in matrix)
    rounds = tuple(tuple(int(j) for j in senders if j != i) for i, senders in enumerate(heard))
    return Topology("mixing matrix", (rounds,))


def check_connected(topology: Topology) -> None:
    """Whether all learners hear, perhaps through others, of all.

    Raises:
        UserError: when they do not; it names two of them.
    """
    if pair := topology.unreachable_pair():
        raise UserError(
            f"{topology.name}: nothing that learner {pair[0]} learns ever reaches learner "
            f"{pair[1]}: add an edge"
        )


def check_age(sender: int, receiver: int, age: int, declared: int) -> None:
    """Whether a mixed message was no older than the delay that a bound was computed for.

    Args:
        sender: who wrote it.
        receiver: who mixed it.
        age: rounds of the sender since it was written.
        declared: largest age that the bound covers.

    Raises:
        UserError: when it was older, or comes from the future.
    """
    if not 0 <= age <= declared:
        raise UserError(
            f"edge [{sender}, {receiver}] carried a message {age} rounds old, but the bound is for "
            f"0 … {declared}: declare a longer delay"
        )
