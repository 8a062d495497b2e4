"""The ε-ball: bounds on learners' distance from their mean, in units of the size of updates.

In every round all learners update, then mix: X_{k+1} = P_k (X_k + U_k), with X [n, d] the
parameters, U the steps that the optimizers made, and P [n, n] a matrix whose rows sum to 1. With
J = 11ᵀ/n the disagreement is D = (I - J) X, and it contains an update of m rounds ago as
(I - J) P_{k-1} ⋯ P_{k-m} U_{k-m}. All quantities are sums over m of the size of those products.

Sizes are root mean squares over learners: the radius is that of ‖x_i - x̄‖ just after mixing, the
size of updates that of ‖u_i - ū‖ or, with delayed messages, of ‖u_i‖, which is larger. The bound is
Propositions 1 and 2 of *Gossip-based Actor-Learner Architectures for Deep Reinforcement Learning*
(Assran et al., 2019, https://arxiv.org/abs/1906.04585).
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Ball:
    """Rate at which disagreement shrinks, and the radius that updates sustain.

    Attributes:
        beta: share of a disagreement that one round leaves, asymptotically: ‖P - J‖₂ for regular
            graphs, the geometric mean over a period for rotating graphs. With missed mixes it is
            the root mean square over which mixes are missed.
        half_life_rounds: number of rounds that leave at most half of a disagreement; with delays,
            asymptotically.
        epsilon_factor: worst case: the radius never exceeds this multiple of the largest size of
            updates so far, for any updates; β / (1 - β) for a regular graph.
        typical_factor: root mean square of the radius for independent updates of unit size with
            mean zero.
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
"""The ball of a single learner."""

UNBOUNDED = Ball(
    beta=1.0, half_life_rounds=math.inf, epsilon_factor=math.inf, typical_factor=math.inf
)
"""The ball of learners that never mix, or whose mixing is below rounding error."""


def rounds_to_halve(beta: float, left: Sequence[float] = ()) -> float:
    """Return the number of rounds after which at most half of a disagreement is left.

    Args:
        beta: share of it that a round leaves, asymptotically.
        left: largest share that is left after 1, 2, … rounds, as far as known; non-increasing.
    """
    above_half = sum(share > 0.5 + 1e-9 for share in left)
    if above_half < len(left) or beta == 0:
        return above_half + 1
    share = left[-1] if left else 1.0
    return above_half + max(1, math.ceil(math.log(2 * share) / -math.log(beta) - 1e-9))


def delayed_responses(
    own: Array, others: Array, first: Array, delay: int, apply: Callable[[Array, Array], Array]
) -> Iterator[Array]:
    """Yield what is left of an update after 1, 2, … rounds with messages `delay` rounds old.

    H(m) = W₀ H(m - 1) + W₁ H(m - 1 - delay), for updates in each round of the period.

    Args:
        own: W₀ [period, ...], weights that learners give themselves.
        others: W₁ [period, ...], weights that they give to others.
        first: H(0) [period, ...].
        delay: age of every message, in rounds.
        apply: multiplies W₁ and H.
    """
    period = len(own)
    past = deque([np.zeros_like(first)] * delay, maxlen=delay + 1)
    past.append(first)
    for length in itertools.count():
        now = (np.arange(period) + length) % period
        past.append(own[now] * past[-1] + apply(others[now], past[0]))
        yield past[-1]
