"""The ε-ball of any mixing matrices by dense linear algebra, for graphs that are not circulant."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gala_rl.theory.quantities import AGREED, UNBOUNDED, Ball, delayed_responses, rounds_to_halve

_NEGLIGIBLE = 1e-4
"""Share of a disagreement at which sums over rounds are truncated and the rest is estimated."""

_MAX_ROUNDS = 20_000

Matrix = NDArray[np.float64]


def ball(matrices: Matrix, miss: float) -> Ball:
    """Return the ball for messages without delay and mixes missed with probability `miss` < 1.

    As `circulant.ball`, with matrices instead of modes: one more round maps the quadratic form Q of
    what is left to E[PᵀQP] = P̄ᵀQP̄ + p (1 - p) (I - W)ᵀ diag(Q) (I - W).

    Args:
        matrices: W [period, n, n], whose rows sum to 1.
        miss: p.
    """
    period, learners = matrices.shape[:2]
    if learners == 1:
        return AGREED
    left, squares = _truncated(_left(matrices, miss), period)
    if left[-1] >= 1:
        return UNBOUNDED
    before = left[-1 - period] if len(left) > period else 1.0
    beta = (left[-1] / before) ** (1 / period) if miss else _beta(matrices, 0)
    # Shares left are submultiplicative in the number of rounds.
    return Ball(
        beta=beta,
        half_life_rounds=rounds_to_halve(beta, left),
        epsilon_factor=math.fsum(left) / (1 - left[-1]),
        typical_factor=math.sqrt(math.fsum(squares) / (1 - left[-1] ** 2)),
    )


def delayed_ball(matrices: Matrix, delay: int) -> Ball:
    """Return the ball for synchronous rounds whose messages are always `delay` rounds old.

    See `delayed_responses` for what is left of an update. On an irregular graph a delay turns even
    equal updates into disagreement, since learners with more neighbours lag behind. So sizes of
    updates are not measured from their mean here.
    """
    period, learners = matrices.shape[:2]
    if learners == 1:
        return AGREED
    left, squares = _truncated(_delayed_left(matrices, delay), period, delay)
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


def _truncated(
    shares: Iterator[tuple[float, float]], period: int, delay: int = 0
) -> tuple[list[float], list[float]]:
    """Return the largest shares and mean squares left per round, until the share is negligible."""
    left: list[float] = []
    squares: list[float] = []
    for share, square in itertools.islice(shares, _MAX_ROUNDS // period * period):
        left.append(share)
        squares.append(square)
        # Recent values can be tiny while an older message is yet to arrive.
        if len(left) % period == 0 and max(left[-delay - period :]) <= _NEGLIGIBLE:
            break
    return left, squares


def _left(matrices: Matrix, miss: float) -> Iterator[tuple[float, float]]:
    """Yield the largest share left after 1, 2, … rounds, and E‖(I - J)Φ‖²_F / n."""
    period, learners = matrices.shape[:2]
    identity = np.eye(learners)
    averages = miss * identity + (1 - miss) * matrices
    differences = identity - matrices
    # One form per round of the period in which a window may end; windows grow backwards.
    forms = np.broadcast_to(identity - 1 / learners, matrices.shape)
    for length in itertools.count(1):
        first = (np.arange(period) - length) % period
        average, difference = averages[first], differences[first]
        own = np.diagonal(forms, axis1=1, axis2=2)[:, :, None]
        forms = average.swapaxes(1, 2) @ forms @ average
        forms += miss * (1 - miss) * (difference.swapaxes(1, 2) @ (own * difference))
        # Rounding may make values below 0 where nothing is left.
        yield (
            math.sqrt(max(0.0, np.linalg.eigvalsh(forms).max())),
            max(0.0, float(np.trace(forms, axis1=1, axis2=2).mean())) / learners,
        )


def _delayed_left(matrices: Matrix, delay: int) -> Iterator[tuple[float, float]]:
    """Yield the largest share left after 1, 2, … rounds, and ‖(I - J)H‖²_F / n."""
    learners = matrices.shape[1]
    own = np.diagonal(matrices, axis1=1, axis2=2)[:, :, None]
    others = matrices - own * np.eye(learners)
    first = np.broadcast_to(np.eye(learners), matrices.shape)
    for response in delayed_responses(own, others, first, delay, np.matmul):
        disagreement = response - response.mean(axis=1, keepdims=True)
        yield (
            float(np.linalg.norm(disagreement, ord=2, axis=(1, 2)).max()),
            float((disagreement**2).sum(axis=(1, 2)).mean()) / learners,
        )


def augmented(matrix: Matrix, delay: int) -> Matrix:
    """Return the mixing matrix [n (delay + 1), n (delay + 1)] of the augmented graph.

    Its virtual node (r, j) holds the parameters of learner j from r rounds ago. Its rows sum to 1
    like those of `matrix`. Assran et al. 2019, https://arxiv.org/abs/1906.04585, model bounded
    staleness in this way.
    """
    learners = len(matrix)
    whole = np.zeros((learners * (delay + 1),) * 2)
    whole[learners:, :-learners] = np.eye(learners * delay)
    own = np.diag(np.diag(matrix))
    whole[:learners, :learners] = own
    whole[:learners, learners * delay :] += matrix - own
    return whole


def _beta(matrices: Matrix, delay: int) -> float:
    """Return the second-largest eigenvalue modulus, as a geometric mean over a period."""
    period, learners = matrices.shape[:2]
    whole = np.eye(learners * (delay + 1))
    for matrix in matrices:
        whole = augmented(matrix, delay) @ whole
    # Agreement is preserved, so the component common to all learners is removed by distances from
    # learner 0. Where all give themselves the same weight, agreement on old messages that differ
    # from the current parameters is preserved too, so each age needs distances of its own.
    own = np.diagonal(matrices, axis1=1, axis2=2)
    same = np.allclose(own, own[:, :1])
    origin = np.arange(len(whole)) // learners * learners if same else 0
    distances = whole - whole[origin]
    return float(np.abs(np.linalg.eigvals(distances)).max() ** (1 / period))
