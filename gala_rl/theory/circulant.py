"""The ε-ball of circulant graphs by Fourier transform, for any number of learners.

In a circulant graph, the in-neighbours of learner i are i - d for the same distances d. So the
discrete Fourier transform over learners diagonalises every mixing matrix: one eigenvalue for each
of the n - 1 modes of disagreement, per round of the period.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gala_rl.theory.quantities import AGREED, Ball, delayed_responses, rounds_to_halve

_NEGLIGIBLE = 1e-6
"""Share of a disagreement at which a sum over rounds is truncated."""

_ROUNDING = 1e-12
"""Eigenvalues below this are rounding errors of 0, which would spoil roots of products."""

_MAX_ROUNDS = 1024

Modes = NDArray[np.complex128]


def modes_of(offsets: list[list[int]], learners: int) -> Modes:
    """Return the eigenvalues λ [period, n - 1] of the mixing matrices on disagreement.

    Args:
        offsets: distances of the in-neighbours, per round.
        learners: n.
    """
    weights = np.zeros((len(offsets), learners))
    for row, graph in zip(weights, offsets, strict=True):
        row[[0, *graph]] = 1.0 / (1 + len(graph))
    modes = np.fft.fft(weights, axis=1)[:, 1:]
    modes[np.abs(modes) < _ROUNDING] = 0.0
    return modes


def ball(offsets: list[list[int]], learners: int, miss: float) -> Ball:
    """Return the ball for messages without delay and mixes missed with probability `miss` < 1.

    Misses are independent of one another and of the updates so far. Then the quadratic form of what
    is left of a disagreement, E[Φᵀ(I - J)Φ] for the random product Φ, stays circulant, and one more
    round maps its eigenvalues to

        |λ̄_q|² Q_q + p (1 - p) |1 - λ_q|² ΣQ / n,    λ̄ = p + (1 - p) λ

    With p = 0 that is |λ_q|² Q_q, and the worst case is Σ_m β^m = β / (1 - β). With p > 0 the worst
    case is a root mean square over misses, for the worst updates that do not depend on future
    misses. No finite bound holds with certainty, since a learner may miss any number of mixes.
    """
    if learners == 1:
        return AGREED
    modes = modes_of(offsets, learners)
    period = len(modes)
    left: list[float] = []
    for share in itertools.islice(_left(modes, miss), _MAX_ROUNDS * period):
        left.append(share)
        if len(left) % period == 0 and share <= _NEGLIGIBLE:
            break
    # Shares left are submultiplicative in the number of rounds, so the rest of the sum is at most a
    # geometric series; it is one exactly with p = 0.
    before = left[-1 - period] if len(left) > period else 1.0
    beta = (left[-1] / before) ** (1 / period)
    return Ball(
        beta=beta,
        half_life_rounds=rounds_to_halve(beta, left),
        epsilon_factor=math.fsum(left) / (1 - left[-1]),
        typical_factor=math.sqrt(_mean_square(modes, miss)),
    )


def _left(modes: Modes, miss: float) -> Iterator[float]:
    """Yield the largest root mean square share of a disagreement left after 1, 2, … rounds."""
    period, learners = len(modes), modes.shape[1] + 1
    kept, spread = _second_moments(modes, miss)
    # One row per round of the period in which a window may end; windows grow backwards.
    forms = np.ones((period, learners - 1))
    for length in itertools.count(1):
        first = (np.arange(period) - length) % period
        forms = kept[first] * forms + spread[first] * forms.mean(axis=1, keepdims=True)
        yield math.sqrt(forms.max())


def _second_moments(modes: Modes, miss: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factors of a mode's own square and of all modes' mean square in one round."""
    learners = modes.shape[1] + 1
    kept = np.abs(miss + (1 - miss) * modes) ** 2
    spread = miss * (1 - miss) * np.abs(1 - modes) ** 2 * (learners - 1) / learners
    return kept, spread


def _mean_square(modes: Modes, miss: float) -> float:
    """Return the stationary E‖D‖²_F / n for independent unit updates, averaged over a period.

    A mode's variance just after the update of round k obeys v_{k+1} = |λ̄_k|² v_k + s_k, where the
    source s_k = 1 + p (1 - p) Σ_q |1 - λ_q|² v_q / n is the next update and the leakage from other
    modes that misses of round k cause. So variances are linear in the sources of the period, which
    solve a linear system of as many equations.
    """
    period, learners = len(modes), modes.shape[1] + 1
    kept, spread = _second_moments(modes, miss)
    # response[k, l]: variance per mode in round k if only the source of round l were 1.
    response = np.empty((period, period, learners - 1))
    for source in range(period):
        gain = 1 / (1 - kept.prod(axis=0))
        for k in range(source + 1, source + 1 + period):
            response[k % period, source] = gain
            gain = gain * kept[k % period]
    leaks = (spread[:, None] * response).mean(axis=2)
    sources = np.linalg.solve(np.eye(period) - leaks, np.ones(period))
    variances = np.einsum("klq,l->kq", response, sources)
    return float((variances - 1).sum() / (period * learners))


def delayed_ball(offsets: list[list[int]], learners: int, delay: int) -> Ball:
    """Return the ball for synchronous rounds whose messages are always `delay` rounds old.

    x ← w y_k + μ y_{k-delay}, with y = x + u, w a learner's weight for itself and μ = λ - w. After
    m rounds, h(m) = w h(m - 1) + μ h(m - 1 - delay), h(0) = 1, is left of an update: row m of the
    powers of the augmented graph, whose virtual nodes hold earlier messages. |h| and |h|² are
    summed round by round until only the slowest root of each mode matters; the rest is a geometric
    series with that root.
    """
    if learners == 1:
        return AGREED
    modes = modes_of(offsets, learners)
    period = len(modes)
    own = np.array([1.0 / (1 + len(graph)) for graph in offsets])
    roots = _slowest_roots(modes, own, delay)
    weights = own[:, None]
    responses = delayed_responses(weights, modes - weights, np.ones_like(modes), delay, np.multiply)
    left: list[float] = []
    squares: deque[NDArray[np.float64]] = deque(maxlen=period)
    total = np.zeros(modes.shape)
    settled = period * math.ceil(128 * (delay + 1) / period)
    for response in itertools.islice(responses, settled):
        size = np.abs(response)
        left.append(float(size.max()))
        squares.append(size**2)
        total += squares[-1]
        # Recent values can be tiny while an older message is yet to arrive.
        if len(left) % period == 0 and max(left[-delay - period :]) <= _NEGLIGIBLE**2:
            break
    slowest = float(roots.max())
    total += sum(squares) * roots**2 / (1 - roots**2)
    beta = slowest ** (1 / period)
    return Ball(
        beta=beta,
        half_life_rounds=rounds_to_halve(beta),
        epsilon_factor=math.fsum(left) + math.fsum(left[-period:]) * slowest / (1 - slowest),
        typical_factor=math.sqrt(total.sum() / (period * learners)),
    )


def _slowest_roots(modes: Modes, own: NDArray[np.float64], delay: int) -> NDArray[np.float64]:
    """Return the largest eigenvalue modulus per mode [n - 1] of the augmented graph per period."""
    size = delay + 1
    product = np.broadcast_to(np.eye(size, dtype=np.complex128), (modes.shape[1], size, size))
    for weight, values in zip(own, modes, strict=True):
        step = np.zeros_like(product)
        step[:, 1:, :-1] = np.eye(delay)
        step[:, 0, 0] = weight
        step[:, 0, -1] += values - weight
        product = step @ product
    largest: NDArray[np.float64] = np.abs(np.linalg.eigvals(product)).max(axis=1)
    return largest
