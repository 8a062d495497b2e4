"""Proves that a hierarchy of nodes connects everybody, and that far messages hold up nobody."""

import math

import networkx  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala_rl.errors import UserError
from gala_rl.gossip import topology
from gala_rl.gossip.message import Message
from gala_rl.gossip.node import GossipNode, Mix, Proceed
from gala_rl.gossip.topology import hierarchical, resolve_when

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


@given(SIZES)
def test_everybody_hears_its_node_and_at_most_one_more_and_is_connected(
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
def test_a_round_keeps_the_mean_just_where_nodes_are_equal(sizes: tuple[int, int]) -> None:
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


def test_with_all_a_late_far_message_keeps_a_learner_from_its_own_node() -> None:
    node = GossipNode(0, hierarchical(6, 3), size=1, when="all")
    node.on_update(1)
    for sender in (1, 2):
        node.on_message(Message(sender, 1, torch.ones(1)))
    assert node.decide() == Proceed()
