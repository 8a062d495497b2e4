"""Figures of the ε-ball: known numbers, and the same from Fourier, dense matrices and networkx."""

import itertools
import math

import networkx  # type: ignore[import-untyped]
import numpy as np
import pytest

from gala_rl.errors import UserError
from gala_rl.gossip import topology
from gala_rl.gossip.topology import NAMES, Topology
from gala_rl.theory import Ball, augmented, ball, dense, matrix_ball, named_ball, span_factor
from tests.theory.simulation import matrices_of

STATIC = [name for name in NAMES if name != "rotating-exponential"]


def assert_same(one: Ball, other: Ball, tolerance: float = 1e-9) -> None:
    for name in ("beta", "half_life_rounds", "epsilon_factor", "typical_factor"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=tolerance, abs=1e-7), (
            name
        )


@pytest.mark.parametrize(
    ("name", "learners", "beta", "factor"),
    [
        ("directed-ring", 2, 0.0, 0.0),
        ("directed-ring", 4, 0.7071, 2.414),
        ("directed-ring", 8, 0.9239, 12.14),
        ("directed-ring", 12, 0.9659, 28.35),
        ("directed-ring", 16, 0.9808, 51.04),
        ("undirected-ring", 4, 0.3333, 0.5),
        ("undirected-ring", 8, 0.8047, 4.12),
        ("undirected-ring", 12, 0.9107, 10.20),
        ("undirected-ring", 16, 0.9493, 18.71),
        ("exponential", 2, 0.0, 0.0),
        ("exponential", 4, 0.3333, 0.5),
        ("exponential", 8, 0.5, 1.0),
        ("exponential", 12, 0.6, 1.5),
        ("exponential", 16, 0.6, 1.5),
        ("complete", 16, 0.0, 0.0),
    ],
)
def test_known_contraction_and_worst_case(
    name: str, learners: int, beta: float, factor: float
) -> None:
    found = named_ball(name, learners)
    assert found.beta == pytest.approx(beta, abs=5e-5)
    assert found.epsilon_factor == pytest.approx(factor, rel=5e-4)
    assert found.epsilon_factor == pytest.approx(found.beta / (1 - found.beta))
    assert found.spectral_gap == 1 - found.beta


@pytest.mark.parametrize("learners", [2, 3, 4, 8, 16, 64, 1024, 4096])
def test_closed_forms_of_the_directed_ring(learners: int) -> None:
    found = named_ball("directed-ring", learners)
    assert found.beta == pytest.approx(math.cos(math.pi / learners), abs=1e-15)
    squares = learners * found.typical_factor**2
    assert squares == pytest.approx((learners - 1) * (learners - 2) / 3, rel=1e-6)
    halved = max(1, math.ceil(math.log(0.5) / math.log(found.beta) - 1e-9)) if found.beta else 1
    assert found.half_life_rounds == halved


@pytest.mark.parametrize("power", range(1, 13))
def test_the_rotating_exponential_graph_agrees_exactly_after_log2_n_rounds(power: int) -> None:
    found = named_ball("rotating-exponential", 2**power)
    assert (found.beta, found.half_life_rounds) == (0.0, power)
    assert found.epsilon_factor == pytest.approx(power - 1)
    if power <= 5:
        graph = topology.rotating_exponential(2**power)
        product = np.linalg.multi_dot(
            [np.eye(2**power), *matrices_of(graph)[::-1], np.eye(2**power)]
        )
        np.testing.assert_allclose(product, 1 / 2**power, atol=1e-15)


@pytest.mark.parametrize("miss", [0.01, 0.1, 0.5, 0.9])
def test_the_complete_graph_with_missed_mixes(miss: float) -> None:
    """With very many learners only a learner's own misses keep it from the mean."""
    found = named_ball("complete", 4096, miss=miss)
    assert found.beta == pytest.approx(math.sqrt(miss), rel=1e-3)
    assert found.typical_factor == pytest.approx(math.sqrt(miss / (1 - miss)), rel=1e-3)


def beta_of_networkx(name: str, learners: int) -> float:
    offsets = topology.named_offsets(name, learners)[0]
    graph = networkx.DiGraph()
    graph.add_edges_from(((i - d) % learners, i) for i in range(learners) for d in offsets)
    adjacency = networkx.to_numpy_array(graph, nodelist=range(learners))
    moduli = np.abs(np.linalg.eigvals(np.eye(learners) + adjacency)) / (1 + len(offsets))
    return float(np.sort(moduli)[-2])


@pytest.mark.parametrize("name", STATIC)
@pytest.mark.parametrize("learners", range(2, 33))
def test_beta_is_the_second_eigenvalue_and_the_norm(name: str, learners: int) -> None:
    beta = named_ball(name, learners).beta
    assert beta == pytest.approx(beta_of_networkx(name, learners), abs=1e-7)
    matrix = topology.make(name, learners).mixing_matrix(0)
    assert beta == pytest.approx(np.linalg.norm(matrix - 1 / learners, ord=2), abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learners", [2, 3, 5, 8, 12, 16])
def test_fourier_and_dense_matrices_give_the_same(name: str, learners: int) -> None:
    matrices = matrices_of(topology.make(name, learners))
    assert_same(named_ball(name, learners, miss=0.2), dense.ball(matrices, 0.2), 3e-3)
    for delay in (1, 3):
        assert_same(
            named_ball(name, learners, delay=delay), dense.delayed_ball(matrices, delay), 1e-3
        )
    if name in STATIC and learners > 2:
        assert_same(named_ball(name, learners), dense.ball(matrices, 0.0), 1e-4)


def test_rounds_of_a_period_may_differ_as_much_as_they_like() -> None:
    offsets = [[1], [1, 2, 3, 4, 5], [3], [2, 5]]
    rounds = (tuple(tuple((i - d) % 7 for d in graph) for i in range(7)) for graph in offsets)
    graph = Topology("changing", tuple(rounds))
    matrices = matrices_of(graph)
    assert_same(ball(graph), dense.ball(matrices, 0.0), 1e-4)
    assert_same(ball(graph, miss=0.4), dense.ball(matrices, 0.4), 1e-4)
    assert_same(ball(graph, delay=2), dense.delayed_ball(matrices, 2), 1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learners", [1, 2, 5, 8])
def test_a_topology_has_the_ball_of_its_name(name: str, learners: int) -> None:
    for case in ({}, {"delay": 2}, {"miss": 0.3}):
        assert ball(topology.make(name, learners), **case) == named_ball(name, learners, **case)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_delay_and_misses_both_computations_are_the_same(name: str) -> None:
    from gala_rl.theory import circulant

    offsets = topology.named_offsets(name, 9)
    together, delayed = circulant.ball(offsets, 9, 0.0), circulant.delayed_ball(offsets, 9, 0)
    assert delayed.beta == pytest.approx(together.beta)
    assert delayed.epsilon_factor == pytest.approx(together.epsilon_factor)
    assert delayed.typical_factor == pytest.approx(together.typical_factor)


def irregular(learners: int) -> Topology:
    """A ring in which learner 0 also receives from all other learners."""
    ring = [(i, (i + 1) % learners) for i in range(learners)]
    return topology.from_edges([*ring, *((i, 0) for i in range(1, learners - 1))], learners)


@pytest.mark.parametrize("graph", [topology.directed_ring(4), irregular(4)])
def test_missed_mixes_against_all_of_their_patterns(graph: Topology) -> None:
    """E[PᵀQP] literally: a sum over who mixes and who does not."""
    miss, identity = 0.3, np.eye(4)
    form, left, squares = identity - 1 / 4, [], []
    for _ in range(35):
        expected = np.zeros((4, 4))
        for missed in itertools.product((False, True), repeat=4):
            step = np.where(np.array(missed)[:, None], identity, graph.mixing_matrix(0))
            probability = math.prod(miss if m else 1 - miss for m in missed)
            expected += probability * step.T @ form @ step
        form = expected
        left.append(math.sqrt(np.linalg.eigvalsh(form).max()))
        squares.append(np.trace(form) / 4)
    found = ball(graph, miss=miss)
    assert found.epsilon_factor == pytest.approx(math.fsum(left), rel=1e-3)
    assert found.typical_factor == pytest.approx(math.sqrt(math.fsum(squares)), rel=1e-5)
    assert found.beta == pytest.approx(left[-1] / left[-2], rel=1e-3)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_graph_of_ones_own_against_its_powers(delay: int) -> None:
    graph = irregular(5)
    step = augmented(graph.mixing_matrix(0), delay)
    left, power = [], np.eye(len(step))
    for _ in range(2000):
        power = step @ power
        block = power[:5, :5]
        left.append(block - block.mean(axis=0))
    found = ball(graph, delay=delay)
    norms = [np.linalg.norm(block, ord=2) for block in left]
    assert found.epsilon_factor == pytest.approx(math.fsum(norms), rel=1e-4)
    squares = sum((block**2).sum() for block in left) / 5
    assert found.typical_factor == pytest.approx(math.sqrt(squares), rel=1e-4)
    moduli = np.sort(np.abs(np.linalg.eigvals(step)))
    assert found.beta == pytest.approx(moduli[-2], abs=1e-9)


@pytest.mark.parametrize(
    ("learners", "delay", "modulus", "span"),
    [
        (2, 0, 0.0, 0.0),
        (2, 1, 0.7071, 1.64),
        (2, 2, 0.8722, 3.60),
        (2, 4, 0.9598, 8.94),
        (4, 0, 0.7071, 3.0),
        (4, 1, 0.9124, 8.35),
        (4, 2, 0.9631, 15.6),
        (4, 4, 0.9889, 35.9),
        (8, 0, 0.9239, 15.0),
        (8, 1, 0.9774, 35.3),
        (8, 2, 0.9905, 63.6),
        (8, 4, 0.9972, 144.0),
    ],
)
def test_known_figures_of_a_ring_with_old_messages(
    learners: int, delay: int, modulus: float, span: float
) -> None:
    ring = topology.directed_ring(learners)
    assert ball(ring, delay=delay).beta == pytest.approx(modulus, abs=5e-5)
    assert span_factor(ring, delay) == pytest.approx(span, rel=2e-3, abs=1e-6)


def test_known_spans() -> None:
    for learners in (4, 8, 16):
        ring = topology.directed_ring(learners)
        assert span_factor(ring) == pytest.approx(learners**2 / 4 - 1, rel=1e-5)
    exponentials = [span_factor(topology.exponential(n)) for n in (4, 8, 16)]
    assert exponentials == pytest.approx([0.5, 1.286, 2.139], rel=1e-3)


def test_the_balls_of_a_single_learner_and_of_learners_that_never_mix() -> None:
    for name in NAMES:
        alone = named_ball(name, 1, miss=1.0)
        assert (alone.beta, alone.epsilon_factor, alone.typical_factor) == (0.0, 0.0, 0.0)
        assert named_ball(name, 4, miss=1.0).epsilon_factor == math.inf
    assert ball(irregular(4), miss=1.0).typical_factor == math.inf
    assert span_factor(topology.directed_ring(1)) == 0.0
    assert matrix_ball([[1.0]], delay=1).epsilon_factor == 0.0


def test_weights_that_rounding_hides_give_no_bound() -> None:
    weights = [[1.0, 1e-17], [1e-17, 1.0]]
    for case in ({}, {"delay": 1}):
        assert matrix_ball(weights, **case).epsilon_factor == math.inf


def test_the_ball_grows_with_missed_mixes_and_comes_from_the_ring_without_them() -> None:
    balls = [named_ball("directed-ring", 8, miss=miss) for miss in (0.0, 0.1, 0.5, 0.9)]
    for smaller, larger in itertools.pairwise(balls):
        assert smaller.beta < larger.beta
        assert smaller.epsilon_factor < larger.epsilon_factor
        assert smaller.typical_factor < larger.typical_factor
    rare = named_ball("directed-ring", 8, miss=1e-9)
    assert rare.typical_factor == pytest.approx(balls[0].typical_factor, rel=1e-6)


def test_what_cannot_be_computed_is_refused() -> None:
    ring = topology.directed_ring(4)
    with pytest.raises(UserError, match=r"delay 17: choose 0 … 16 rounds"):
        ball(ring, delay=17)
    with pytest.raises(UserError, match=r"miss 1.5: choose a probability"):
        ball(ring, miss=1.5)
    with pytest.raises(UserError, match="miss nan"):
        named_ball("complete", 4, miss=math.nan)
    with pytest.raises(UserError, match="65 learners: for a graph that does not look the same"):
        ball(irregular(65))
    with pytest.raises(ValueError, match="one at a time"):
        ball(ring, delay=1, miss=0.1)


def test_learners_in_two_camps_are_refused_with_one_of_each() -> None:
    alike = Topology("pairs", (tuple(((i + 2) % 4,) for i in range(4)),))
    with pytest.raises(UserError, match="pairs: nothing that learner 1 learns ever reaches"):
        ball(alike)
    unlike = Topology("one way", (((), (0,), (0, 1)),))
    for refuse in (ball, span_factor):
        with pytest.raises(UserError, match="learner 1 learns ever reaches learner 0"):
            refuse(unlike)
