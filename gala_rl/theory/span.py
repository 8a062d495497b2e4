"""Bounds on the largest distance between two learners, for any missed mixes.

For any row-stochastic P, doubly stochastic or not, δ(PX) ≤ τ(P) δ(X), where δ(X) is the largest
distance between two rows of X and τ the coefficient of ergodicity of R. L. Dobrushin, *Central
limit theorem for nonstationary Markov chains* (1956, https://doi.org/10.1137/1101006). So

    δ(X_k) ≤ Σ_{s<k} τ(P_{k-1} ⋯ P_s) δ(U_s)

with the matrices that occurred: row i is e_i where learner i did not mix.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gala_rl.gossip.topology import Topology, check_connected
from gala_rl.theory.dense import augmented

_NEGLIGIBLE = 1e-6


def dobrushin(rows: NDArray[np.float64]) -> float:
    """Return τ: the largest distance between rows of P X if rows of X differ by at most 1.

    Args:
        rows: P [learners, sources]. If its rows sum to 1, τ = max_ij ‖P_i - P_j‖₁ / 2. From a
            product in an augmented graph, pass the rows and columns of real learners, since virtual
            nodes make no updates; then no row of X may be longer than 1 either.
    """
    return max(float(np.maximum(row - rows, 0.0).sum(axis=1).max()) for row in rows)


def span_factor(topology: Topology, delay: int = 0) -> float:
    """Return a bound on the largest distance between two learners, for synchronous rounds.

    The unit is the largest distance between two updates of a round; with a delay, no update may be
    longer than it either. The bound is Σ_m τ(Pᵐ), in the augmented graph if messages are `delay`
    rounds old. It also bounds every learner's distance from the mean.

    Raises:
        UserError: when the topology is not strongly connected.
    """
    check_connected(topology)
    learners, period = topology.learners, topology.period
    if learners == 1:
        return 0.0
    steps = [augmented(topology.mixing_matrix(k), delay) for k in range(period)]
    # One product per round of the period that may come first.
    products = [np.eye(len(steps[0]))] * period
    taus: list[float] = []
    while True:
        products = [
            steps[(first + len(taus)) % period] @ product for first, product in enumerate(products)
        ]
        taus.append(max(dobrushin(product[:learners, :learners]) for product in products))
        # This product shrinks all that follows once more, including old messages.
        if len(taus) % period == 0:
            end = max(dobrushin(product) for product in products)
            if end <= _NEGLIGIBLE:
                return math.fsum(taus) / (1 - end)
