"""Bounds on the largest distance between two learners, which hold whatever mixes are missed.

For any row-stochastic P, doubly stochastic or not, δ(PX) ≤ τ(P) δ(X), where δ(X) is the largest
distance between two rows of X and τ the coefficient of ergodicity of R. L. Dobrushin, *Central
limit theorem for nonstationary Markov chains* (1956, https://doi.org/10.1137/1101006). So

    δ(X_k) ≤ Σ_{s<k} τ(P_{k-1} ⋯ P_s) δ(U_s)

with the matrices that were realised: row i is e_i where learner i did not mix.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gala_rl.gossip.topology import Topology, check_connected
from gala_rl.theory.dense import augmented

_NEGLIGIBLE = 1e-6


def dobrushin(rows: NDArray[np.float64]) -> float:
    """τ: the largest distance between two rows of P X, if no two rows of X are further than 1.

    Args:
        rows: P [learners, sources]. Usually its rows sum to 1, and τ = max_ij ‖P_i - P_j‖₁ / 2. Of
            a product in an augmented graph give the rows and columns of real learners, where no
            row of X may be longer than 1 either: virtual nodes make no updates.
    """
    return max(float(np.maximum(row - rows, 0.0).sum(axis=1).max()) for row in rows)


def span_factor(topology: Topology, delay: int = 0) -> float:
    """Largest distance between two learners, in units of that between two updates of a round.

    All mix in step, with messages that are `delay` rounds old; with a delay no update may be longer
    than that unit either. It is Σ_m τ(Pᵐ), in the augmented graph if there is a delay; the radius
    of no learner is larger.

    Raises:
        UserError: when some learner never hears of another.
    """
    check_connected(topology)
    learners, period = topology.learners, topology.period
    if learners == 1:
        return 0.0
    steps = [augmented(topology.mixing_matrix(k), delay) for k in range(period)]
    # One product for each round of the period that may come first.
    products = [np.eye(len(steps[0]))] * period
    taus: list[float] = []
    while True:
        products = [
            steps[(first + len(taus)) % period] @ product for first, product in enumerate(products)
        ]
        taus.append(max(dobrushin(product[:learners, :learners]) for product in products))
        # What follows is shrunk by this product once more, old messages included.
        if len(taus) % period == 0:
            end = max(dobrushin(product) for product in products)
            if end <= _NEGLIGIBLE:
                return math.fsum(taus) / (1 - end)
