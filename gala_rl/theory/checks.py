"""Checks the assumptions of the theory on mixing matrices."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gala_rl.errors import UserError
from gala_rl.gossip.topology import Topology, check_connected

_ROUNDING = 1e-6
"""Tolerance for sums of weights, which may come from float32."""


def check_mixing(weights: ArrayLike) -> NDArray[np.float64]:
    """Return a mixing matrix [n, n] as float64; entry [i, j] is the weight of learner j in i's mix.

    Raises:
        UserError: when the matrix is not square, a weight is negative or not finite, a row does not
            sum to 1, a diagonal entry is 0, or the graph is not strongly connected.
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
    graph = tuple(
        tuple(j for j in np.flatnonzero(row).tolist() if j != i) for i, row in enumerate(matrix)
    )
    check_connected(Topology("custom", (graph,)), "mixing matrix")
    return matrix
