"""Rules of the protocol when neighbours change per round or with the topology."""

import pytest

from gala_rl.gossip.node import GossipNode, Proceed, Send, Wait
from gala_rl.gossip.topology import (
    Topology,
    complete,
    directed_ring,
    rotating_exponential,
    undirected_ring,
)
from tests.gossip.nodes import SIZE, listener, message, mixed, updated

# Topologies that change from round to round.


def test_a_rotating_node_sends_to_and_hears_the_neighbour_of_the_round() -> None:
    node = GossipNode(0, rotating_exponential(8), size=SIZE)
    receivers, heard = [], []
    for version in range(1, 7):
        receivers.append(node.on_update(version).receivers)
        heard.append(node.listening_to)
    assert receivers == [(2,), (4,), (1,), (2,), (4,), (1,)]
    assert heard == [(6,), (4,), (7,), (6,), (4,), (7,)]


def test_a_rotating_node_mixes_only_the_neighbour_of_the_round_and_stores_the_others() -> None:
    node = updated(GossipNode(0, rotating_exponential(8), size=SIZE))
    for sender in (4, 6, 7):
        assert node.on_message(message(sender, 1)) is None
    assert mixed(node) == [(6, 1)]
    assert node.decide() == Proceed()
    assert mixed(updated(node)) == [(4, 1)]
    assert mixed(updated(node)) == [(7, 1)]
    assert updated(node).decide() == Proceed()


def test_a_rotating_node_waits_only_for_the_neighbour_of_the_round() -> None:
    node = updated(GossipNode(0, rotating_exponential(8), size=SIZE, max_staleness=0))
    node.on_message(message(4, 1))
    assert node.decide() == Wait((6,))
    node.on_deadline()
    assert node.decide() == Proceed()
    assert mixed(updated(node)) == [(4, 1)]


# No neighbours.


def test_a_learner_alone_never_mixes_nor_waits() -> None:
    node = GossipNode(0, complete(1), size=SIZE, max_staleness=0)
    for version in range(1, 10):
        assert node.on_update(version) == Send(version, ())
        assert node.decide() == Proceed()
    assert node.on_message(message(0, 1)) == "not a neighbour"


def test_a_round_without_neighbours_neither_mixes_nor_waits() -> None:
    now_and_then = Topology("now-and-then", (((1,), (0,)), ((), ())))
    node = updated(GossipNode(0, now_and_then, size=SIZE, max_staleness=0))
    node.on_message(message(1, 1))
    assert node.decide() == Proceed()
    assert mixed(updated(node)) == [(1, 1)]


# Rule 6: other neighbours.


def test_messages_of_remaining_neighbours_are_mixed_and_those_of_former_ones_are_not() -> None:
    node = updated(listener())
    assert node.on_message(message(1, 4)) is None
    assert node.on_message(message(3, 5)) is None
    node.change_topology(undirected_ring(3))
    assert node.listening_to == (1, 2)
    assert node.decide() == Proceed()
    assert node.on_message(message(3, 6)) == "not a neighbour"
    assert node.on_message(message(1, 4)) == "not newer"
    assert node.on_message(message(2, 1)) is None
    assert mixed(node) == [(1, 4), (2, 1)]
    assert node.on_update(2) == Send(2, (1, 2))


def test_counters_and_mixed_versions_of_remaining_neighbours_are_kept() -> None:
    node = updated(listener(when="any"))
    for sender, version in ((1, 4), (3, 5)):
        node.on_message(message(sender, version))
    node.on_message(message(1, 3))
    mixed(node)
    updated(node, 2)
    node.change_topology(undirected_ring(3))
    assert (node.version, node.mixes, node.staleness_updates) == (3, 1, 2)
    assert node.mixed_versions == {1: 4, 2: 0}
    assert node.rejected == {"not newer": 1}


def test_of_a_returning_neighbour_only_later_messages_count() -> None:
    node = updated(listener(when="any"))
    node.on_message(message(3, 5))
    mixed(node)
    node.change_topology(undirected_ring(2))
    updated(node)
    node.change_topology(undirected_ring(4))
    assert node.mixed_versions == {1: 0, 3: 0}
    assert node.on_message(message(3, 5)) == "not newer"
    assert node.on_message(message(3, 6)) is None
    assert mixed(node) == [(3, 6)]


def test_a_learner_reported_dead_stays_dead_until_it_sends() -> None:
    node = updated(listener(max_staleness=0))
    node.on_peer_down(3)
    node.change_topology(undirected_ring(2))
    node.change_topology(undirected_ring(4))
    assert node.decide() == Wait((1,))
    node.on_message(message(1, 1))
    assert mixed(node) == [(1, 1)]


def test_a_single_learner_never_waits() -> None:
    node = updated(listener(max_staleness=0))
    assert isinstance(node.decide(), Wait)
    node.change_topology(directed_ring(1))
    assert node.decide() == Proceed()
    assert node.on_update(2) == Send(2, ())


def test_a_graph_without_the_learner_is_refused() -> None:
    with pytest.raises(ValueError, match="learner 2 is not among 2"):
        GossipNode(2, directed_ring(3), size=SIZE).change_topology(directed_ring(2))
