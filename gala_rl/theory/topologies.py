"""The ε-ball of a topology: by Fourier transform where learners look alike, else numerically."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gala_rl.errors import UserError
from gala_rl.gossip.topology import Topology, check_connected, named_offsets
from gala_rl.theory import circulant, dense
from gala_rl.theory.checks import check_mixing
from gala_rl.theory.quantities import UNBOUNDED, Ball

MAX_DELAY = 16
"""Rounds; older messages would make the roots that are needed too many."""

MAX_OWN_LEARNERS = 64
"""Of a graph that does not look the same from every learner."""


def ball(topology: Topology, *, delay: int = 0, miss: float = 0.0) -> Ball:
    """The ε-ball of a topology. At most one of `delay` and `miss` may differ from 0.

    Args:
        topology: any; of a graph that does not look the same from every learner, up to 64 learners.
        delay: age of every message, in rounds.
        miss: probability that a learner misses a mix, independently of everything else.

    Raises:
        UserError: when some learner never hears of another, or a value is out of its bounds.
    """
    check_case(delay, miss)
    offsets = _offsets(topology)
    if offsets is not None:
        if math.gcd(topology.learners, *(d for graph in offsets for d in graph)) > 1:
            check_connected(topology)
        return _circulant_ball(offsets, topology.learners, delay, miss)
    if topology.learners > MAX_OWN_LEARNERS:
        raise UserError(
            f"{topology.name} has {topology.learners} learners: for a graph that does not look the "
            f"same from all of them the ε-ball is computed for {MAX_OWN_LEARNERS} at most"
        )
    check_connected(topology)
    matrices = np.stack([topology.mixing_matrix(k) for k in range(topology.period)])
    return _dense_ball(matrices, delay, miss)


def named_ball(name: str, learners: int, *, delay: int = 0, miss: float = 0.0) -> Ball:
    """As `ball`, of a named topology of any size, without building it."""
    check_case(delay, miss)
    return _circulant_ball(named_offsets(name, learners), learners, delay, miss)


def matrix_ball(weights: ArrayLike, *, delay: int = 0, miss: float = 0.0) -> Ball:
    """As `ball`, of a mixing matrix [n, n] with weights of one's own.

    Raises:
        UserError: when it is no mixing matrix (see `check_mixing`), or a value is out of bounds.
    """
    check_case(delay, miss)
    return _dense_ball(check_mixing(weights)[None], delay, miss)


def check_case(delay: int, miss: float) -> None:
    """Whether figures can be computed for this delay and this probability of a missed mix.

    Raises:
        UserError: when a value is out of its bounds.
    """
    if not 0 <= delay <= MAX_DELAY:
        raise UserError(f"delay {delay}: choose 0 … {MAX_DELAY} rounds")
    if not 0 <= miss <= 1:
        raise UserError(f"miss {miss}: choose a probability, 0 … 1")
    if delay and miss:
        raise ValueError("a delay and missed mixes are taken one at a time")


def _circulant_ball(offsets: list[list[int]], learners: int, delay: int, miss: float) -> Ball:
    if learners > 1 and miss == 1:
        return UNBOUNDED
    if delay:
        return circulant.delayed_ball(offsets, learners, delay)
    return circulant.ball(offsets, learners, miss)


def _dense_ball(matrices: NDArray[np.float64], delay: int, miss: float) -> Ball:
    if miss == 1:
        return UNBOUNDED
    return dense.delayed_ball(matrices, delay) if delay else dense.ball(matrices, miss)


def _offsets(topology: Topology) -> list[list[int]] | None:
    """Distances at which all learners hear others, round by round; None where they differ."""
    learners = topology.learners
    offsets = [[-j % learners for j in graph[0]] for graph in topology.rounds]
    alike = all(
        set(heard) == {(i - d) % learners for d in graph_offsets}
        for graph, graph_offsets in zip(topology.rounds, offsets, strict=True)
        for i, heard in enumerate(graph)
    )
    return offsets if alike else None
