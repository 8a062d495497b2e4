"""The typical radius against simulation: synchronous rounds, missed mixes, delays."""

import numpy as np
import pytest

from gala_rl.gossip import topology
from gala_rl.theory import ball
from tests.theory.simulation import Array, matrices_of, radius, simulate
from tests.theory.test_figures import irregular

GRAPHS = [
    topology.directed_ring(4),
    topology.directed_ring(8),
    topology.exponential(8),
    topology.rotating_exponential(8),
    topology.rotating_exponential(6),
    topology.complete(5),
    irregular(6),
]

RUNS, ROUNDS, BEFORE = 1000, 700, 500
"""The slowest of these graphs loses half a percent of a disagreement a round."""


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda g: f"{g.name}-{g.learners}")
@pytest.mark.parametrize(("delay", "miss"), [(0, 0.0), (1, 0.0), (3, 0.0), (0, 0.1), (0, 0.5)])
def test_the_radius_of_independent_updates(
    graph: topology.Topology, delay: int, miss: float
) -> None:
    random = np.random.default_rng(7)

    def updates(k: int, vectors: Array) -> Array:
        return random.standard_normal((RUNS, graph.learners, 1))

    history = simulate(
        matrices_of(graph),
        updates,
        ROUNDS,
        dimensions=1,
        delay=delay,
        misses=lambda _: random.random((RUNS, graph.learners)) < miss,
    )
    found = radius(np.stack(history[BEFORE:]))
    assert found == pytest.approx(
        ball(graph, delay=delay, miss=miss).typical_factor, rel=0.015, abs=1e-12
    )


@pytest.mark.parametrize(("learners", "norm"), [(4, 1.414), (8, 3.742), (16, 8.367)])
def test_known_sizes_on_the_ring(learners: int, norm: float) -> None:
    """‖D‖_F of all learners together."""
    typical = ball(topology.directed_ring(learners)).typical_factor
    assert typical * learners**0.5 == pytest.approx(norm, abs=5e-4)
