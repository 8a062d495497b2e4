"""The ε-ball of graphs that look the same from every learner, for any number of learners.

There every mixing matrix is circulant: learner i hears i - d for the same distances d, so the
discrete Fourier transform over learners turns matrices into numbers, one for each of the n - 1
modes of disagreement. A rotating graph has such numbers for each round of its period.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gala_rl.theory.ball import AGREED, Ball, rounds_to_halve

_NEGLIGIBLE = 1e-6
"""Share of a disagreement at which a sum over rounds may end."""

_ROUNDING = 1e-12
"""Far below any λ other than 0. What the transform leaves of a 0 would spoil roots of products."""

_MAX_ROUNDS = 1024

Modes = NDArray[np.complex128]


def modes_of(offsets: list[list[int]], learners: int) -> Modes:
    """Eigenvalues λ [period, n - 1] of the mixing matrices on disagreement, by Fourier transform.

    Args:
        offsets: distances, round by round, at which every learner hears others.
        learners: n.
    """
    weights = np.zeros((len(offsets), learners))
    for row, graph in zip(weights, offsets, strict=True):
        row[[0, *graph]] = 1.0 / (1 + len(graph))
    modes = np.fft.fft(weights, axis=1)[:, 1:]
    modes[np.abs(modes) < _ROUNDING] = 0.0
    return modes


def ball(offsets: list[list[int]], learners: int, miss: float) -> Ball:
    """Messages arrive at once; each learner misses each mix with probability `miss` < 1.

    Misses are independent of one another and of the updates so far. Then the quadratic form that
    tells what is left of a disagreement, E[Φᵀ(I - J)Φ] for the random product Φ, stays circulant,
    and one round more maps its eigenvalues to

        |λ̄_q|² Q_q + p (1 - p) |1 - λ_q|² ΣQ / n,    λ̄ = p + (1 - p) λ

    With p = 0 that is |λ_q|² Q_q, and the worst case is Σ_m β^m = β / (1 - β). With p > 0 the worst
    case holds in root mean square over misses, for the worst updates that do not know which mixes
    will be missed. Nothing smaller than infinity holds for certain: a learner may miss any number.
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
    # What m + l rounds leave is at most what m leave of what l leave, so windows of all these
    # rounds shrink at least geometrically; exactly so with p = 0.
    before = left[-1 - period] if len(left) > period else 1.0
    beta = (left[-1] / before) ** (1 / period)
    return Ball(
        beta=beta,
        half_life_rounds=rounds_to_halve(beta, left),
        epsilon_factor=math.fsum(left) / (1 - left[-1]),
        typical_factor=math.sqrt(_mean_square(modes, miss)),
    )


def _left(modes: Modes, miss: float) -> Iterator[float]:
    """Largest root mean square share of a disagreement left after 1, 2, … rounds."""
    period, learners = len(modes), modes.shape[1] + 1
    kept, spread = _second_moments(modes, miss)
    # One row for each round of the period that a window may end with; windows grow backwards.
    forms = np.ones((period, learners - 1))
    for length in itertools.count(1):
        first = (np.arange(period) - length) % period
        forms = kept[first] * forms + spread[first] * forms.mean(axis=1, keepdims=True)
        yield math.sqrt(forms.max())


def _second_moments(modes: Modes, miss: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a round keeps of a mode's square, and what it makes of the mean square of all modes."""
    learners = modes.shape[1] + 1
    kept = np.abs(miss + (1 - miss) * modes) ** 2
    spread = miss * (1 - miss) * np.abs(1 - modes) ** 2 * (learners - 1) / learners
    return kept, spread


def _mean_square(modes: Modes, miss: float) -> float:
    """E‖D‖²_F / n in the long run, for independent updates of unit size; mean over a period.

    A mode's variance just after the update of round k obeys v_{k+1} = |λ̄_k|² v_k + s_k, where the
    source s_k = 1 + p (1 - p) Σ_q |1 - λ_q|² v_q / n is the next update and what misses of round k
    let the other modes leak into this one. So variances are linear in the sources of the period,
    and those solve as many equations.
    """
    period, learners = len(modes), modes.shape[1] + 1
    kept, spread = _second_moments(modes, miss)
    # response[k, l]: variance in round k, for each mode, if the source of round l alone were 1.
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
    """All mix in step, but messages are always `delay` rounds old: x ← w y_k + μ y_{k-delay}.

    Here y = x + u, w is a learner's weight for itself and μ = λ - w. What is left after m rounds
    of an update is h(m) = w h(m - 1) + μ h(m - 1 - delay), h(0) = 1: row m of the powers of the
    augmented graph, whose virtual nodes hold what was sent before. The sums of |h| and |h|² are
    taken round by round until each mode is down to its slowest root, and finished as geometric
    series with that root.
    """
    if learners == 1:
        return AGREED
    modes = modes_of(offsets, learners)
    period = len(modes)
    own = np.array([1.0 / (1 + len(graph)) for graph in offsets])
    roots = _slowest_roots(modes, own, delay)
    left: list[float] = []
    squares: deque[NDArray[np.float64]] = deque(maxlen=period)
    total = np.zeros(modes.shape)
    settled = period * math.ceil(128 * (delay + 1) / period)
    for response in itertools.islice(_responses(modes, own, delay), settled):
        size = np.abs(response)
        left.append(float(size.max()))
        squares.append(size**2)
        total += squares[-1]
        # Newer values can be tiny while an older message is still to come.
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


def _responses(modes: Modes, own: NDArray[np.float64], delay: int) -> Iterator[Modes]:
    """What is left of a unit update after 1, 2, … rounds, [period of the update, n - 1]."""
    period = len(modes)
    past: deque[Modes] = deque([np.zeros_like(modes)] * delay, maxlen=delay + 1)
    past.append(np.ones_like(modes))
    for length in itertools.count():
        now = (np.arange(period) + length) % period
        weight = own[now, None]
        past.append(weight * past[-1] + (modes[now] - weight) * past[0])
        yield past[-1]


def _slowest_roots(modes: Modes, own: NDArray[np.float64], delay: int) -> NDArray[np.float64]:
    """Largest modulus [n - 1] of the eigenvalues of the augmented graph over a whole period."""
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
