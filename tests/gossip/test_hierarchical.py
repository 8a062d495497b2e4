"""A hierarchy connects all learners, and messages of other nodes delay none of them."""

import math
from typing import Literal

import networkx  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala_rl.errors import UserError
from gala_rl.gossip import Gossip, MemoryNetwork, topology
from gala_rl.gossip.message import Message
from gala_rl.gossip.node import GossipNode, Mix, Proceed
from gala_rl.gossip.topology import hierarchical, resolve_when, split_into_nodes

SIZES = st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@pytest.mark.parametrize(
    ("learners", "learners_per_node", "heard"),
    [
        (1, 1, [()]),
        (2, 1, [(1,), (0,)]),
        (2, 2, [(1,), (0,)]),
        (3, 1, [(2,), (0,), (1,)]),
        (4, 2, [(1, 2), (0, 3), (0, 3), (1, 2)]),
        (6, 2, [(1, 4), (0, 5), (0, 3), (1, 2), (2, 5), (3, 4)]),
        (3, 2, [(1, 2), (0, 2), (0,)]),
        (5, 3, [(1, 2, 3), (0, 2, 4), (0, 1, 3), (0, 4), (1, 3)]),
    ],
)
def test_a_hierarchy_is_the_graph_drawn_by_hand(
    learners: int, learners_per_node: int, heard: list[tuple[int, ...]]
) -> None:
    graph = topology.make("hierarchical", learners, learners_per_node)
    assert [list(graph_heard) for graph_heard in graph.rounds] == [heard]
    assert graph.name == "hierarchical"


def drawn(learners: int, per_node: int) -> set[tuple[int, int]]:
    """Edges (sender, receiver), decided pair by pair from the words of the definition."""
    nodes = math.ceil(learners / per_node)
    edges = set()
    for receiver in range(learners):
        for sender in set(range(learners)) - {receiver}:
            here, there = receiver // per_node, sender // per_node
            size = sum(other // per_node == there for other in range(learners))
            is_before = there == (here - 1) % nodes
            has_place = sender % per_node == (receiver % per_node) % size
            if here == there or (is_before and has_place):
                edges.add((sender, receiver))
    return edges


@given(SIZES)
def test_a_hierarchy_of_any_size_has_the_edges_of_its_definition(sizes: tuple[int, int]) -> None:
    graph = hierarchical(*sizes)
    assert {(j, i) for i, heard in enumerate(graph.rounds[0]) for j in heard} == drawn(*sizes)


@pytest.mark.parametrize("learners", [1, 2, 3, 8])
def test_nodes_of_one_are_a_ring_and_one_node_of_all_is_complete(learners: int) -> None:
    assert hierarchical(learners, 1).rounds == topology.directed_ring(learners).rounds
    assert hierarchical(learners, learners).rounds == topology.complete(learners).rounds


@given(SIZES)
def test_in_neighbours_are_the_own_node_and_at_most_one_more_and_connect_all(
    sizes: tuple[int, int],
) -> None:
    learners, per_node = sizes
    graph = hierarchical(learners, per_node)
    edges = networkx.DiGraph()
    edges.add_nodes_from(range(learners))
    for i in range(learners):
        near = {j for j in range(learners) if j // per_node == i // per_node} - {i}
        far = set(graph.in_neighbours(i, 0)) - near
        assert near <= set(graph.in_neighbours(i, 0))
        assert len(far) == (1 if learners > per_node else 0)
        edges.add_edges_from((j, i) for j in graph.in_neighbours(i, 0))
    assert networkx.is_strongly_connected(edges)
    assert graph.unreachable_pair() is None
    np.testing.assert_allclose(graph.mixing_matrix(0).sum(axis=1), 1, atol=1e-12)


@given(SIZES)
def test_a_round_preserves_the_mean_exactly_if_nodes_are_equal(sizes: tuple[int, int]) -> None:
    learners, per_node = sizes
    graph = hierarchical(learners, per_node)
    assert graph.is_doubly_stochastic() is (learners % per_node == 0)


@given(st.integers(1, 6), st.integers(2, 8))
def test_a_round_leaves_the_share_of_a_disagreement_that_the_formula_says(
    per_node: int, nodes: int
) -> None:
    learners = per_node * nodes
    matrix = hierarchical(learners, per_node).mixing_matrix(0)
    left = np.linalg.norm(matrix - 1 / learners, ord=2)
    between = 1 - 2 * per_node * (1 - math.cos(2 * math.pi / nodes)) / (per_node + 1) ** 2
    within = 1 / (per_node + 1) if per_node > 1 else 0.0
    assert left == pytest.approx(max(math.sqrt(max(between, 0.0)), within), abs=1e-7)


@pytest.mark.parametrize("nodes", [2, 3, 4, 8])
@pytest.mark.parametrize("per_node", [1, 2, 4, 8])
def test_its_eigenvalues_are_those_of_a_ring_of_averages(nodes: int, per_node: int) -> None:
    """(G + ω) / (G + 1) between nodes, ω / (G + 1) within, for each N-th root of unity ω."""
    matrix = hierarchical(nodes * per_node, per_node).mixing_matrix(0)
    np.testing.assert_allclose(matrix @ matrix.T, matrix.T @ matrix, atol=1e-12)  # normal
    roots = np.exp(2j * math.pi * np.arange(nodes) / nodes)
    left = list(np.linalg.eigvals(matrix))
    for value in [*(per_node + roots), *np.repeat(roots, per_node - 1)]:
        expected = value / (per_node + 1)
        nearest = int(np.argmin(np.abs(np.array(left) - expected)))
        assert abs(left.pop(nearest) - expected) < 1e-9


def test_a_node_without_learners_or_larger_than_all_is_refused() -> None:
    for per_node in (0, 5):
        with pytest.raises(UserError, match=f"learners_per_node {per_node} is impossible with 4"):
            hierarchical(4, per_node)
    with pytest.raises(UserError, match="give --learners-per-node"):
        topology.make("hierarchical", 4)


def test_a_hierarchy_mixes_with_any_by_itself_and_other_topologies_with_all() -> None:
    assert resolve_when("auto", "hierarchical") == "any"
    assert all(resolve_when("auto", name) == "all" for name in (*topology.NAMES, "edges.json"))
    assert resolve_when("all", "hierarchical") == "all"
    assert resolve_when("any", "directed-ring") == "any"


def test_each_update_mixes_the_node_and_a_far_message_joins_when_it_is_there() -> None:
    node = GossipNode(
        0, hierarchical(6, 3), size=1, when=resolve_when("auto", "hierarchical"), max_staleness=0
    )
    assert node.listening_to == (1, 2, 3)
    for version in range(1, 9):
        arrived = [1, 2, 3] if version % 4 == 0 else [1, 2]
        node.on_update(version)
        for sender in arrived:
            assert node.on_message(Message(sender, version, torch.ones(1))) is None
        decision = node.decide()
        assert isinstance(decision, Mix)
        assert [message.sender for message in decision.messages] == arrived
        node.on_mixed(decision)
    assert node.mixed_versions == {1: 8, 2: 8, 3: 8}


def test_with_all_a_late_message_of_another_node_delays_those_of_the_own_node() -> None:
    node = GossipNode(0, hierarchical(6, 3), size=1, when="all")
    node.on_update(1)
    for sender in (1, 2):
        node.on_message(Message(sender, 1, torch.ones(1)))
    assert node.decide() == Proceed()


@pytest.mark.parametrize("when", ["any", "all"])
def test_a_silent_node_holds_up_the_mixes_of_another_only_with_all(
    when: Literal["any", "all"],
) -> None:
    graph, network = hierarchical(6, 3), MemoryNetwork(6)
    vectors = [torch.full((2,), float(rank)) for rank in range(6)]
    gossips = [
        Gossip(vector, network.transport(rank), rank, graph, when=when)
        for rank, vector in enumerate(vectors)
    ]
    for _ in range(20):
        for gossip in gossips[:3]:
            gossip.exchange()
    here = torch.stack(vectors[:3])
    if when == "all":
        assert [gossip.node.mixes for gossip in gossips[:3]] == [0, 0, 0]
        return
    # In the very first turn no message had been sent yet.
    assert [gossip.node.mixes for gossip in gossips[:3]] == [19, 20, 20]
    assert (here.max(dim=0).values - here.min(dim=0).values).max() < 1e-4
    assert all(gossip.wait_s == 0.0 for gossip in gossips)
    for gossip in gossips[3:]:
        gossip.exchange()
    assert gossips[0].exchange() == 3
    assert {sender for sender, _ in gossips[0].last_mixed} == {1, 2, 3}


def test_nodes_come_to_agree_though_one_far_message_in_ten_arrives() -> None:
    graph = hierarchical(8, 4)
    vectors = torch.arange(8.0)[:, None]
    nodes = [GossipNode(rank, graph, size=1, when="any") for rank in range(8)]
    for version in range(1, 400):
        sent = [Message(rank, version, vectors[rank].clone()) for rank in range(8)]
        for rank, node in enumerate(nodes):
            node.on_update(version)
            for sender in graph.in_neighbours(rank, version):
                if sender // 4 == rank // 4 or (version + rank) % 10 == 0:
                    node.on_message(sent[sender])
        for rank, node in enumerate(nodes):
            decision = node.decide()
            assert isinstance(decision, Mix)
            received = [message.parameters for message in decision.messages]
            vectors[rank] = torch.stack([vectors[rank], *received]).mean(dim=0)
            node.on_mixed(decision)
    assert vectors.max() - vectors.min() < 1e-4


@given(st.integers(1, 40), st.integers(1, 10))
def test_every_learner_is_on_one_node_and_nodes_are_full_but_the_last(
    learners: int, per_node: int
) -> None:
    split = split_into_nodes(learners, per_node)
    assert [rank for share in split for rank in share] == list(range(learners))
    assert all(len(share) == min(per_node, learners) for share in split[:-1])
    assert 1 <= len(split[-1]) <= per_node
