"""Compute the ε-ball of a topology: by Fourier transform if it is circulant, else numerically."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gala_rl.errors import UserError
from gala_rl.gossip.topology import Topology, check_connected, named_offsets
from gala_rl.theory import circulant, dense
from gala_rl.theory.checks import check_mixing
from gala_rl.theory.quantities import UNBOUNDED, Ball

MAX_DELAY = 16
"""Rounds; the number of roots to compute grows with the delay."""

MAX_OWN_LEARNERS = 64
"""Largest number of learners for a graph that is not circulant."""


def ball(topology: Topology, *, delay: int = 0, miss: float = 0.0) -> Ball:
    """Return the ε-ball of a topology. At most one of `delay` and `miss` may differ from 0.

    Args:
        topology: any; with at most 64 learners if it is not circulant.
        delay: age of every message, in rounds.
        miss: probability that a learner misses a mix, independently of everything else.

    Raises:
        UserError: when the topology is not strongly connected, or a value is out of bounds.
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
    """Return the ε-ball of a named topology of any size, without building it; see `ball`."""
    check_case(delay, miss)
    return _circulant_ball(named_offsets(name, learners), learners, delay, miss)


def matrix_ball(weights: ArrayLike, *, delay: int = 0, miss: float = 0.0) -> Ball:
    """Return the ε-ball of a mixing matrix [n, n] with any weights; see `ball`.

    Raises:
        UserError: when it is no mixing matrix (see `check_mixing`), or a value is out of bounds.
    """
    check_case(delay, miss)
    return _dense_ball(check_mixing(weights)[None], delay, miss)


def check_case(delay: int, miss: float) -> None:
    """Raise a UserError if the delay or the probability of a missed mix is out of bounds."""
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
    """Return the distances of in-neighbours per round; None if the graph is not circulant."""
    learners = topology.learners
    offsets = [[-j % learners for j in graph[0]] for graph in topology.rounds]
    is_circulant = all(
        set(in_neighbours) == {(i - d) % learners for d in graph_offsets}
        for graph, graph_offsets in zip(topology.rounds, offsets, strict=True)
        for i, in_neighbours in enumerate(graph)
    )
    return offsets if is_circulant else None
