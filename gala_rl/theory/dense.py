"""The ε-ball of any mixing matrices, by numerical linear algebra: for graphs of one's own."""

import itertools
import math
from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gala_rl.theory.ball import AGREED, UNBOUNDED, Ball, rounds_to_halve

_NEGLIGIBLE = 1e-4
"""Share of a disagreement at which sums over rounds end; what follows is estimated from it."""

_MAX_ROUNDS = 20_000

Matrix = NDArray[np.float64]


def ball(matrices: Matrix, miss: float) -> Ball:
    """Messages arrive at once; each learner misses each mix with probability `miss` < 1.

    As `circulant.ball`, with matrices in place of modes: one round more maps the quadratic form Q
    that tells what is left to E[PᵀQP] = P̄ᵀQP̄ + p (1 - p) (I - W)ᵀ diag(Q) (I - W).

    Args:
        matrices: W [period, n, n] of the rounds, rows sum to 1.
        miss: p.
    """
    period, learners = matrices.shape[:2]
    if learners == 1:
        return AGREED
    left, squares = _settled(_left(matrices, miss), period)
    if left[-1] >= 1:
        return UNBOUNDED
    before = left[-1 - period] if len(left) > period else 1.0
    beta = (left[-1] / before) ** (1 / period) if miss else _beta(matrices, 0)
    # What m + l rounds leave is at most what m leave of what l leave.
    return Ball(
        beta=beta,
        half_life_rounds=rounds_to_halve(beta, left),
        epsilon_factor=math.fsum(left) / (1 - left[-1]),
        typical_factor=math.sqrt(math.fsum(squares) / (1 - left[-1] ** 2)),
    )


def delayed_ball(matrices: Matrix, delay: int) -> Ball:
    """All mix in step, but messages are always `delay` rounds old.

    What is left of an update after m rounds is H(m) = W₀ H(m - 1) + W₁ H(m - 1 - delay), with W₀
    the weights that learners give themselves and W₁ those that they give to others.

    On a graph that is not regular a delay turns even equal updates into disagreement: those with
    more neighbours lag behind. So sizes of updates are not measured from their mean here.
    """
    period, learners = matrices.shape[:2]
    if learners == 1:
        return AGREED
    left, squares = _settled(_delayed_left(matrices, delay), period, delay)
    beta = _beta(matrices, delay)
    slowest = beta**period
    if slowest >= 1:
        return UNBOUNDED
    rest = math.fsum(left[-period:]) * slowest / (1 - slowest)
    rest_of_squares = math.fsum(squares[-period:]) * slowest**2 / (1 - slowest**2)
    return Ball(
        beta=beta,
        half_life_rounds=rounds_to_halve(beta),
        epsilon_factor=math.fsum(left) + rest,
        typical_factor=math.sqrt(math.fsum(squares) + rest_of_squares),
    )


def _settled(
    shares: Iterator[tuple[float, float]], period: int, delay: int = 0
) -> tuple[list[float], list[float]]:
    """Largest share left after each round and mean square, until the share is negligible."""
    left: list[float] = []
    squares: list[float] = []
    for share, square in itertools.islice(shares, _MAX_ROUNDS // period * period):
        left.append(share)
        squares.append(square)
        # Newer values can be tiny while an older message is still to come.
        if len(left) % period == 0 and max(left[-delay - period :]) <= _NEGLIGIBLE:
            break
    return left, squares


def _left(matrices: Matrix, miss: float) -> Iterator[tuple[float, float]]:
    """Largest share left after 1, 2, … rounds, and E‖(I - J)Φ‖²_F / n."""
    period, learners = matrices.shape[:2]
    identity = np.eye(learners)
    averages = miss * identity + (1 - miss) * matrices
    differences = identity - matrices
    # One form for each round of the period that a window may end with; windows grow backwards.
    forms = np.broadcast_to(identity - 1 / learners, matrices.shape)
    for length in itertools.count(1):
        first = (np.arange(period) - length) % period
        average, difference = averages[first], differences[first]
        own = np.diagonal(forms, axis1=1, axis2=2)[:, :, None]
        forms = average.mT @ forms @ average
        forms += miss * (1 - miss) * (difference.mT @ (own * difference))
        # Where nothing is left, rounding may make it less.
        yield (
            math.sqrt(max(0.0, np.linalg.eigvalsh(forms).max())),
            max(0.0, float(np.trace(forms, axis1=1, axis2=2).mean())) / learners,
        )


def _delayed_left(matrices: Matrix, delay: int) -> Iterator[tuple[float, float]]:
    """Largest share left after 1, 2, … rounds, and ‖(I - J)H‖²_F / n."""
    period, learners = matrices.shape[:2]
    own = np.diagonal(matrices, axis1=1, axis2=2)[:, :, None]
    others = matrices - own * np.eye(learners)
    past: deque[Matrix] = deque([np.zeros_like(matrices)] * delay, maxlen=delay + 1)
    past.append(np.broadcast_to(np.eye(learners), matrices.shape))
    for length in itertools.count():
        now = (np.arange(period) + length) % period
        past.append(own[now] * past[-1] + others[now] @ past[0])
        disagreement = past[-1] - past[-1].mean(axis=1, keepdims=True)
        yield (
            float(np.linalg.norm(disagreement, ord=2, axis=(1, 2)).max()),
            float((disagreement**2).sum(axis=(1, 2)).mean()) / learners,
        )


def augmented(matrix: Matrix, delay: int) -> Matrix:
    """The mixing matrix [n (delay + 1), n (delay + 1)] with virtual nodes that hold old messages.

    Virtual node (r, j) holds what learner j had r rounds ago; row-stochastic like `matrix`.
    Assran et al. 2019, https://arxiv.org/abs/1906.04585, treat bounded staleness so.
    """
    learners = len(matrix)
    whole = np.zeros((learners * (delay + 1),) * 2)
    whole[learners:, :-learners] = np.eye(learners * delay)
    own = np.diag(np.diag(matrix))
    whole[:learners, :learners] = own
    whole[:learners, learners * delay :] += matrix - own
    return whole


def _beta(matrices: Matrix, delay: int) -> float:
    """Second-largest modulus of the eigenvalues: geometric mean over the rounds of a period."""
    period, learners = matrices.shape[:2]
    whole = np.eye(learners * (delay + 1))
    for matrix in matrices:
        whole = augmented(matrix, delay) @ whole
    # Agreement stays agreement, so what is common to all must go: distances from learner 0 have
    # none of it. Where all give themselves the same weight, even agreement on old messages other
    # than the present parameters stays, so there each age has distances of its own.
    own = np.diagonal(matrices, axis1=1, axis2=2)
    same = np.allclose(own, own[:, :1])
    origin = np.arange(len(whole)) // learners * learners if same else 0
    distances = whole - whole[origin]
    return float(np.abs(np.linalg.eigvals(distances)).max() ** (1 / period))
