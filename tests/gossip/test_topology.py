"""Proves that each topology is the graph its name promises, and that bad graphs are refused."""

import json
import math
from pathlib import Path

import networkx  # type: ignore[import-untyped]
import numpy as np
import pytest

from gala_rl.errors import UserError
from gala_rl.gossip import topology
from gala_rl.gossip.topology import NAMES, Topology

SIZES = (1, 2, 3, 4, 5, 7, 8, 16)


def union_graph(graph: Topology) -> networkx.DiGraph:
    """Edges sender → receiver of all rounds together."""
    union = networkx.DiGraph()
    union.add_nodes_from(range(graph.learners))
    for heard in graph.rounds:
        union.add_edges_from((j, i) for i, senders in enumerate(heard) for j in senders)
    return union


def disagreement_factor(graph: Topology) -> float:
    """Spectral norm of W - J: how much of the disagreement one synchronous round leaves."""
    n = graph.learners
    return float(np.linalg.norm(graph.mixing_matrix(0) - np.full((n, n), 1 / n), ord=2))


@pytest.mark.parametrize(
    ("name", "learners", "rounds"),
    [
        ("directed-ring", 1, [[()]]),
        ("directed-ring", 2, [[(1,), (0,)]]),
        ("directed-ring", 3, [[(2,), (0,), (1,)]]),
        ("directed-ring", 4, [[(3,), (0,), (1,), (2,)]]),
        ("undirected-ring", 1, [[()]]),
        ("undirected-ring", 2, [[(1,), (0,)]]),
        ("undirected-ring", 3, [[(1, 2), (0, 2), (0, 1)]]),
        ("undirected-ring", 4, [[(1, 3), (0, 2), (1, 3), (0, 2)]]),
        ("exponential", 1, [[()]]),
        ("exponential", 2, [[(1,), (0,)]]),
        ("exponential", 3, [[(1, 2), (0, 2), (0, 1)]]),
        ("exponential", 4, [[(2, 3), (0, 3), (0, 1), (1, 2)]]),
        ("rotating-exponential", 1, [[()]]),
        ("rotating-exponential", 2, [[(1,), (0,)]]),
        ("rotating-exponential", 3, [[(2,), (0,), (1,)], [(1,), (2,), (0,)]]),
        ("rotating-exponential", 4, [[(3,), (0,), (1,), (2,)], [(2,), (3,), (0,), (1,)]]),
        ("complete", 1, [[()]]),
        ("complete", 2, [[(1,), (0,)]]),
        ("complete", 3, [[(1, 2), (0, 2), (0, 1)]]),
        ("complete", 4, [[(1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2)]]),
    ],
)
def test_a_named_topology_is_the_graph_drawn_by_hand(
    name: str, learners: int, rounds: list[list[tuple[int, ...]]]
) -> None:
    graph = topology.make(name, learners)
    assert [list(heard) for heard in graph.rounds] == rounds
    assert (graph.name, graph.learners, graph.period) == (name, learners, len(rounds))


def test_in_neighbours_of_learner_zero_of_eight_are_those_drawn_by_hand() -> None:
    assert topology.directed_ring(8).in_neighbours(0, 0) == (7,)
    assert topology.undirected_ring(8).in_neighbours(0, 0) == (1, 7)
    assert topology.exponential(8).in_neighbours(0, 0) == (4, 6, 7)
    assert topology.complete(8).in_neighbours(0, 0) == (1, 2, 3, 4, 5, 6, 7)
    rotating = topology.rotating_exponential(8)
    assert [rotating.in_neighbours(0, k) for k in range(4)] == [(7,), (6,), (4,), (7,)]
    assert rotating.all_in_neighbours(0) == (4, 6, 7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learners", SIZES)
def test_the_union_of_rounds_of_a_named_topology_is_strongly_connected(
    name: str, learners: int
) -> None:
    graph = topology.make(name, learners)
    assert networkx.is_strongly_connected(union_graph(graph))
    assert graph.unreachable_pair() is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learners", SIZES)
def test_each_round_of_a_named_topology_is_regular_and_doubly_stochastic(
    name: str, learners: int
) -> None:
    graph = topology.make(name, learners)
    for k in range(graph.period):
        heard = [len(graph.in_neighbours(i, k)) for i in range(learners)]
        hearing = [len(graph.out_neighbours(i, k)) for i in range(learners)]
        assert len({*heard, *hearing}) == 1
        matrix = graph.mixing_matrix(k)
        assert matrix.min() >= 0
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
        np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-12)
    assert graph.is_doubly_stochastic()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learners", SIZES)
def test_in_and_out_neighbours_are_the_same_edges_in_every_round(name: str, learners: int) -> None:
    graph = topology.make(name, learners)
    # Twice the period, so that the sequence is seen to repeat.
    for k in range(2 * graph.period):
        heard = {(j, i) for i in range(learners) for j in graph.in_neighbours(i, k)}
        sent = {(i, j) for i in range(learners) for j in graph.out_neighbours(i, k)}
        assert heard == sent
        assert all(sender != receiver for sender, receiver in heard)
        assert all(j in graph.all_in_neighbours(i) for j, i in heard)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learners", SIZES)
def test_the_mixing_matrix_weighs_in_neighbours_and_the_learner_itself_equally(
    name: str, learners: int
) -> None:
    graph = topology.make(name, learners)
    for k in range(graph.period):
        for i, row in enumerate(graph.mixing_matrix(k)):
            heard = graph.in_neighbours(i, k)
            assert set(np.flatnonzero(row)) == {i, *heard}
            np.testing.assert_allclose(row[[i, *heard]], 1 / (1 + len(heard)), rtol=1e-12)


@pytest.mark.parametrize("learners", [2, 3, 4, 5, 8, 16])
def test_a_directed_ring_leaves_cosine_of_pi_over_n_of_the_disagreement(learners: int) -> None:
    graph = topology.directed_ring(learners)
    expected = math.cos(math.pi / learners)
    assert disagreement_factor(graph) == pytest.approx(expected, abs=1e-12)
    singular_values = np.linalg.svd(graph.mixing_matrix(0), compute_uv=False)
    assert singular_values[:2] == pytest.approx([1, expected], abs=1e-7)


def test_complete_gossip_agrees_at_once() -> None:
    assert disagreement_factor(topology.complete(7)) < 1e-12


@pytest.mark.parametrize("exponent", [1, 2, 3, 4])
def test_rotating_exponential_averages_exactly_after_log2_n_rounds(exponent: int) -> None:
    learners = 2**exponent
    graph = topology.rotating_exponential(learners)
    assert graph.period == exponent
    for start in range(exponent):
        product = np.eye(learners)
        for k in range(start, start + exponent):
            product = graph.mixing_matrix(k) @ product
        np.testing.assert_allclose(product, 1 / learners, atol=1e-12)


def test_one_round_of_rotating_exponential_alone_does_not_average() -> None:
    assert disagreement_factor(topology.rotating_exponential(8)) > 0.9


def test_an_irregular_graph_is_row_stochastic_but_does_not_preserve_the_mean() -> None:
    star_with_shortcut = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2)]
    graph = topology.from_edges(star_with_shortcut, 3)
    matrix = graph.mixing_matrix(0)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(
        matrix, [[1 / 3, 1 / 3, 1 / 3], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]
    )
    assert not graph.is_doubly_stochastic()


def test_a_topology_is_doubly_stochastic_only_if_every_round_is() -> None:
    ring, lopsided = topology.directed_ring(3).rounds[0], ((1, 2), (0,), (0, 1))
    assert not Topology("mixed", (ring, lopsided)).is_doubly_stochastic()


def test_edges_are_sender_first_whatever_their_order() -> None:
    graph = topology.from_edges([(2, 0), (0, 1), (1, 2), (1, 0)], 3, name="mine")
    assert graph.rounds == (((1, 2), (0,), (1,)),)
    assert graph.name == "mine"


def test_a_single_learner_needs_no_edge() -> None:
    assert topology.from_edges([], 1).rounds == (((),),)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(0, 1), (1, 2)], r"edge \[1, 2\] names learner 2, but learners are 0 … 1"),
        ([(-1, 0)], r"edge \[-1, 0\] names learner -1"),
        ([(0, 1), (1, 1)], r"edge \[1, 1\] is a loop"),
        ([(0, 1), (1, 0), (0, 1)], r"edge \[0, 1\] is there twice"),
        ([(0, 1)], r"nothing that learner 1 learns ever reaches learner 0: add an edge"),
        ([(1, 0)], r"nothing that learner 0 learns ever reaches learner 1: add an edge"),
        ([], r"nothing that learner 1 learns ever reaches learner 0"),
    ],
)
def test_unusable_edges_are_refused_by_name(edges: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        topology.from_edges(edges, 2)


@pytest.mark.parametrize("learners", range(2, 7))
def test_the_unreachable_pair_is_named_rightly_in_random_graphs(learners: int) -> None:
    generator = np.random.default_rng(learners)
    disconnected = 0
    for _ in range(60):
        heard = tuple(
            tuple(j for j in range(learners) if j != i and generator.random() < 1.5 / learners)
            for i in range(learners)
        )
        graph = Topology("random", (heard,))
        pair, union = graph.unreachable_pair(), union_graph(graph)
        if pair is None:
            assert networkx.is_strongly_connected(union)
        else:
            disconnected += 1
            assert not networkx.has_path(union, *pair)
    assert disconnected > 0


def test_connection_over_several_rounds_is_enough() -> None:
    graph = Topology("two-rounds", (((), (0,), ()), ((2,), (), ()), ((), (), (1,))))
    assert graph.unreachable_pair() is None


def test_a_file_of_edges_is_the_same_graph_as_the_edges(tmp_path: Path) -> None:
    file = tmp_path / "ring.json"
    file.write_text(json.dumps([[0, 1], [1, 2], [2, 0]]), encoding="utf-8")
    graph = topology.make(str(file), 3)
    assert graph.rounds == topology.directed_ring(3).rounds
    assert graph.name == str(file)


@pytest.mark.parametrize("name", ["mobius-strip", "nowhere/ring.json", "", "ring" * 100])
def test_an_unknown_name_or_missing_file_lists_the_choices(name: str) -> None:
    with pytest.raises(UserError) as caught:
        topology.make(name, 4)
    wrong = "is not there" if name.endswith(".json") else "is unknown"
    assert f"topology {name!r} {wrong}: choose" in str(caught.value)
    assert all(choice in str(caught.value) for choice in NAMES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[[0, 1], [1, 0]", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"edges": []}', "holds a dict"),
        (b"7", "holds a int"),
        (b"[[0, 1, 2]]", r"holds the edge \[0, 1, 2\]"),
        (b"[[0, 1.0]]", r"holds the edge \[0, 1.0\]"),
        (b"[[0, true]]", r"holds the edge \[0, True\]"),
        (b'[["0", "1"]]', r"holds the edge \['0', '1'\]"),
        (b"[3]", "holds the edge 3"),
    ],
)
def test_a_file_that_is_no_list_of_edges_is_refused_with_an_example(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "graph.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        topology.make(str(file), 3)
    assert str(file) in str(caught.value)
    assert "[[0, 1], [1, 2], [2, 0]]" in str(caught.value)


def test_a_file_for_more_learners_than_there_are_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ring.json"
    file.write_text("[[0, 1], [1, 2], [2, 0]]", encoding="utf-8")
    with pytest.raises(UserError, match=r"names learner 2, but learners are 0 … 1"):
        topology.make(str(file), 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_topology_without_learners_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least 1 learner, not 0"):
        topology.make(name, 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_in_degree_is_that_of_the_graph_and_grows_with_it(name: str) -> None:
    degrees = [topology.max_in_degree(name, learners) for learners in range(1, 40)]
    graphs = [topology.make(name, learners) for learners in range(1, 40)]
    assert degrees == [graph.max_in_degree for graph in graphs]
    assert degrees == sorted(degrees)


def test_the_largest_in_degree_of_a_graph_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "edges.json"
    file.write_text("[[0, 1], [1, 2], [2, 0], [0, 2]]")
    assert topology.max_in_degree(str(file), 3) == 2
