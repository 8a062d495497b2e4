"""Proves by simulation that no radius exceeds its bound, that bounds are reached, and by what."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala_rl.errors import UserError
from gala_rl.gossip import topology
from gala_rl.gossip.topology import NAMES, Topology
from gala_rl.theory import augmented, ball, check_mixing, dobrushin, matrix_ball, span_factor
from tests.properties.test_hull import connected_graphs
from tests.theory.simulation import Array, disagreement, matrices_of, radius, simulate

QUIET = settings(max_examples=40, deadline=None, derandomize=True)
SLACK = 1 + 1e-9

graphs = st.integers(2, 6).flatmap(connected_graphs)
named_graphs = st.builds(topology.make, st.sampled_from(NAMES), st.integers(2, 9))
seeds = st.integers(0, 2**32 - 1)


def span(vectors: Array) -> float:
    """δ: largest distance between two learners."""
    return float(np.linalg.norm(vectors[:, None] - vectors, axis=2).max())


def rms(updates: Array) -> float:
    return float(np.sqrt((updates**2).sum(axis=-1).mean()))


class Uneven:
    """Random updates of very different sizes, some of which push learners further apart."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.made: list[Array] = []

    def __call__(self, k: int, vectors: Array) -> Array:
        noise = self.random.standard_normal(vectors.shape)
        away = disagreement(vectors) if self.random.random() < 0.7 else noise
        size = self.random.exponential() * self.random.random((len(vectors), 1)) ** 2
        self.made.append(size * away / (np.linalg.norm(away) + 1e-9))
        return self.made[-1]


@QUIET
@given(named_graphs, seeds)
def test_d1_the_radius_is_at_most_the_sum_of_shrunk_updates(graph: Topology, seed: int) -> None:
    """Proposition 1, and 2 with the largest update: β is the largest norm of a round."""
    updates, matrices = Uneven(seed), matrices_of(graph)
    beta = float(np.linalg.norm(matrices - 1 / graph.learners, ord=2, axis=(1, 2)).max())
    factor, bound = ball(graph).epsilon_factor, 0.0
    for k, vectors in enumerate(simulate(matrices, updates, 40, dimensions=2)):
        bound = beta * (bound + rms(disagreement(updates.made[k])))
        assert radius(vectors) <= bound * SLACK + 1e-12
        largest = max(rms(disagreement(made)) for made in updates.made[: k + 1])
        assert radius(vectors) <= factor * largest * SLACK + 1e-12


@QUIET
@given(graphs, seeds, st.integers(0, 3))
def test_the_worst_case_holds_on_any_graph_and_with_old_messages(
    graph: Topology, seed: int, delay: int
) -> None:
    updates = Uneven(seed)
    history = simulate(matrices_of(graph), updates, 40, dimensions=2, delay=delay)
    factor = ball(graph, delay=delay).epsilon_factor
    largest = max(rms(made if delay else disagreement(made)) for made in updates.made)
    assert max(radius(vectors) for vectors in history) <= factor * largest * (1 + 1e-4)


def realised(graph: Topology, k: int, mixes: NDArray[np.bool_], ages: NDArray[np.int_]) -> Array:
    """Augmented matrix of a round in which each learner mixes or not, and each edge has an age."""
    learners, oldest = graph.learners, 2
    whole = augmented(np.eye(learners), oldest)
    for i in range(learners):
        heard = graph.in_neighbours(i, k) if mixes[i] else ()
        whole[i] = 0.0
        whole[i, i] = 1 / (1 + len(heard))
        for j in heard:
            whole[i, j + learners * ages[i, j]] += 1 / (1 + len(heard))
    return whole


@QUIET
@given(graphs | named_graphs, seeds, st.booleans())
def test_d2_and_d3_hold_for_any_missed_mixes_and_ages(
    graph: Topology, seed: int, with_ages: bool
) -> None:
    """δ(X_k) ≤ Σ_s τ(P_{k-1} ⋯ P_s) δ(U_s), in the augmented graph where messages are old."""
    learners, random = graph.learners, np.random.default_rng(seed)
    updates = Uneven(seed)
    state = np.zeros((learners * 3, 2))
    products: list[Array] = []
    for k in range(25):
        ages = random.integers(0, 3, (learners, learners)) * with_ages
        step = realised(graph, k, random.random(learners) < 0.6, ages)
        state[:learners] += updates(k, state[:learners])
        state = step @ state
        products = [step @ product for product in [*products, np.eye(len(step))]]
        bound = 0.0
        for product, made in zip(products, updates.made, strict=True):
            longest = float(np.linalg.norm(made, axis=1).max()) if with_ages else 0.0
            bound += dobrushin(product[:learners, :learners]) * max(span(made), longest)
        assert span(state[:learners]) <= bound * SLACK + 1e-12


@QUIET
@given(graphs | named_graphs, seeds, st.integers(0, 2))
def test_no_two_learners_are_further_apart_than_the_span(
    graph: Topology, seed: int, delay: int
) -> None:
    updates = Uneven(seed)
    history = simulate(matrices_of(graph), updates, 40, dimensions=2, delay=delay)
    sizes = [span(made) for made in updates.made]
    if delay:
        sizes += [float(np.linalg.norm(made, axis=1).max()) for made in updates.made]
    bound = span_factor(graph, delay) * max(sizes)
    assert max(span(vectors) for vectors in history) <= bound * (1 + 1e-4) + 1e-12


def slowest_wave(learners: int, k: int) -> Array:
    """Unit updates along the slowest mode of the ring, turned so that they always add up."""
    angle = 2 * math.pi * np.arange(learners) / learners + math.pi * k / learners
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize("learners", [3, 4, 8, 12])
def test_the_worst_case_of_the_directed_ring_is_reached(learners: int) -> None:
    graph = topology.directed_ring(learners)
    # What comes from the learner before turns the wave by -π / n, so the next update turns too.
    history = simulate(
        matrices_of(graph), lambda k, _: slowest_wave(learners, -k), 1500, dimensions=2
    )
    assert radius(history[-1]) == pytest.approx(ball(graph).epsilon_factor)


@pytest.mark.parametrize("power", [2, 3, 4])
def test_the_rotating_exponential_graph_forgets_updates_after_log2_n_rounds(power: int) -> None:
    graph = topology.rotating_exponential(2**power)
    first = np.random.default_rng(0).standard_normal((2**power, 3))
    history = simulate(
        matrices_of(graph), lambda k, _: first if k == 0 else 0 * first, power, dimensions=3
    )
    assert radius(history[-2]) > 0.01
    assert radius(history[-1]) < 1e-15


@pytest.mark.parametrize("miss", [0.2, 0.6])
def test_the_worst_case_holds_in_root_mean_square_over_missed_mixes(miss: float) -> None:
    """Against updates that know where all learners are, but not which mixes will be missed."""
    graph, random = topology.directed_ring(6), np.random.default_rng(1)

    def away(k: int, vectors: Array) -> Array:
        apart = disagreement(vectors) + 1e-3 * slowest_wave(6, k)
        unit: Array = apart / np.sqrt((apart**2).sum(axis=-1).mean(axis=-1))[..., None, None]
        return unit

    history = simulate(
        matrices_of(graph),
        away,
        300,
        dimensions=2,
        misses=lambda _: random.random((2000, 6)) < miss,
    )
    reached = radius(history[-1]) / ball(graph, miss=miss).epsilon_factor
    assert 0.5 < reached < 1


# The checks themselves: a wrong weight is seen, by validation or by what it does.


def test_a_wrong_weight_breaks_the_bound_of_the_right_ones() -> None:
    """Every row sums to 1, so only the properties can see it."""
    graph = topology.directed_ring(8)
    wrong = 0.4 * np.eye(8) + 1.2 * (graph.mixing_matrix(0) - np.eye(8) / 2)
    check_mixing(wrong)
    turn = float(np.angle(0.4 + 0.6 * np.exp(-2j * math.pi / 8)))
    history = simulate(
        wrong[None],
        lambda k, _: slowest_wave(8, 0) @ rotation(-turn * k),
        1500,
        dimensions=2,
    )
    assert radius(history[-1]) > 1.01 * ball(graph).epsilon_factor
    assert radius(history[-1]) <= matrix_ball(wrong).epsilon_factor * SLACK


def rotation(angle: float) -> Array:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def test_a_weight_too_many_is_named_and_lets_disagreement_grow() -> None:
    graph = topology.directed_ring(4)
    wrong = graph.mixing_matrix(0)
    wrong[2, 1] = 0.8
    with pytest.raises(UserError, match=r"weights of learner 2 sum to 1.3"):
        check_mixing(wrong)
    history = simulate(wrong[None], lambda k, x: np.ones_like(x), 100, dimensions=1)
    assert radius(history[-1]) > ball(graph).epsilon_factor
