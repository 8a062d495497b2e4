"""The ε-ball: how far learners can be from their mean, in units of the size of their updates.

Every round all learners update, then mix: X_{k+1} = P_k (X_k + U_k), with X [n, d] the parameters,
U the steps that the optimisers really made, and P [n, n] a matrix whose rows sum to 1. With
J = 11ᵀ/n the disagreement is D = (I - J) X, and an update of m rounds ago is still in it as
(I - J) P_{k-1} ⋯ P_{k-m} U_{k-m}. All figures here are sums over m of the size of those products.

Sizes are root mean squares over learners: of ‖x_i - x̄‖ for the radius, of ‖u_i‖ for the updates,
both just after mixing. Propositions 1 and 2 of *Gossip-based Actor-Learner Architectures for Deep
Reinforcement Learning* (Assran et al., 2019, https://arxiv.org/abs/1906.04585) state the bound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ball:
    """How fast learners agree, and how far apart updates keep them.

    Attributes:
        beta: share of a disagreement that one round leaves, in the long run: ‖P - J‖₂ for the
            regular graphs, the geometric mean over a period for graphs that rotate. With missed
            mixes it is a root mean square over them.
        half_life_rounds: so many rounds leave at most half of a disagreement; with delays, in the
            long run.
        epsilon_factor: worst case: the radius never exceeds this many times the largest update
            size there has been, whatever the updates are; β / (1 - β) for a regular graph.
        typical_factor: root mean square of the radius if updates of unit size have mean zero and
            are independent of one another.
    """

    beta: float
    half_life_rounds: float
    epsilon_factor: float
    typical_factor: float

    @property
    def spectral_gap(self) -> float:
        """1 - β."""
        return 1.0 - self.beta


AGREED = Ball(beta=0.0, half_life_rounds=0, epsilon_factor=0.0, typical_factor=0.0)
"""Of a learner alone."""

UNBOUNDED = Ball(
    beta=1.0, half_life_rounds=math.inf, epsilon_factor=math.inf, typical_factor=math.inf
)
"""Of learners that never mix."""


def rounds_to_halve(beta: float, left: Sequence[float] = ()) -> float:
    """Rounds after which at most half of a disagreement is left.

    Args:
        beta: share of it that a round leaves in the long run.
        left: largest share that is left after 1, 2, … rounds, where that is known; never grows.
    """
    above_half = sum(share > 0.5 + 1e-9 for share in left)
    if above_half < len(left):
        return above_half + 1
    share = left[-1] if left else 1.0
    if beta == 0:
        return above_half + 1
    return above_half + max(1, math.ceil(math.log(2 * share) / -math.log(beta) - 1e-9))
