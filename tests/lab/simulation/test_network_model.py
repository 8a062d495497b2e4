"""Proves that the simulated network follows the protocol of GossipNode, event for event."""

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gala_lab.simulation.network_model import Network
from gala_rl.gossip import topology
from gala_rl.gossip.message import Message
from gala_rl.gossip.node import GossipNode, Mix
from gala_rl.gossip.topology import Topology

NOTHING = np.zeros(1)


class Nodes:
    """Learners made of real GossipNodes, with a list of what is under way between them."""

    def __init__(
        self, graph: Topology, when: Literal["all", "any"], latency_s: float, per_node: int
    ) -> None:
        self.nodes = [GossipNode(rank, graph, size=1, when=when) for rank in range(graph.learners)]
        self.latency_s = latency_s
        self.per_node = per_node
        self.under_way: list[tuple[float, int, Message]] = []

    def update(self, learner: int, version: int, now_s: float) -> None:
        for receiver in self.nodes[learner].on_update(version).receivers:
            message = Message(learner, version, torch.zeros(1))
            is_near = learner // self.per_node == receiver // self.per_node
            arrival_s = now_s + (0.0 if is_near else self.latency_s)
            self.under_way.append((arrival_s, receiver, message))

    def mix(self, learner: int, now_s: float) -> list[tuple[int, int]]:
        node = self.nodes[learner]
        there = [e for e in self.under_way if e[1] == learner and e[0] <= now_s]
        self.under_way = [e for e in self.under_way if e not in there]
        for _, _, message in there:
            assert node.on_message(message) is None
        decision = node.decide()
        if not isinstance(decision, Mix):
            return []
        node.on_mixed(decision)
        return [(message.sender, message.version) for message in decision.messages]

    def lose(self, learner: int) -> None:
        self.under_way = [e for e in self.under_way if learner not in (e[1], e[2].sender)]
        for node in self.nodes:
            node.on_peer_down(learner)
        dead = self.nodes[learner]
        for sender in dead.topology.all_in_neighbours(learner):
            dead._fresh.pop(sender, None)


events = st.lists(
    st.tuples(
        st.sampled_from(["update", "update", "update", "update", "lose"]),
        st.integers(0, 4),
        st.floats(0.0, 2.0),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    events,
    st.sampled_from([*topology.NAMES, topology.HIERARCHICAL]),
    st.integers(2, 5),
    st.integers(1, 5),
    st.sampled_from(["all", "any"]),
    st.sampled_from([0.0, 0.5, 3.0]),
)
def test_the_network_mixes_what_gossip_nodes_would_mix(
    history: list[tuple[str, int, float]],
    name: str,
    learners: int,
    per_node: int,
    when: Literal["all", "any"],
    latency_s: float,
) -> None:
    per_node = min(per_node, learners)
    graph = topology.make(name, learners, per_node)
    nodes = Nodes(graph, when, latency_s, per_node)
    network = Network(graph, when, 0.0, latency_s, [0.0] * learners, learners_per_node=per_node)
    versions, now_s = [0] * learners, 0.0
    for kind, number, pause_s in history:
        learner, now_s = number % learners, now_s + pause_s
        if kind == "lose":
            nodes.lose(learner)
            network.lose(learner)
            continue
        versions[learner] += 1
        nodes.update(learner, versions[learner], now_s)
        assert network.send(learner, versions[learner], NOTHING, now_s) is None
        messages = network.take(learner, versions[learner], now_s)
        assert [(x.sender, x.version) for x in messages] == nodes.mix(learner, now_s)


def pair(message_s: float, latency_s: float) -> tuple[Network, list[float]]:
    """Two learners that hear each other, and the counts of their messages."""
    sent = [0.0, 0.0]
    return Network(topology.directed_ring(2), "all", message_s, latency_s, sent), sent


def taken(network: Network, receiver: int, now_s: float) -> list[int]:
    return [message.version for message in network.take(receiver, 1, now_s)]


def test_a_message_arrives_when_its_last_byte_has_left_and_the_latency_is_over() -> None:
    network, sent = pair(message_s=2.0, latency_s=0.5)
    assert network.send(0, 1, NOTHING, now_s=1.0) is None
    assert taken(network, 1, 3.4) == []
    assert taken(network, 1, 3.5) == [1]
    assert taken(network, 1, 9.0) == []
    assert sent == [1, 0]


def test_what_waits_for_a_busy_port_is_replaced_by_what_is_newer() -> None:
    network, sent = pair(message_s=2.5, latency_s=0.0)
    assert network.send(0, 1, NOTHING, now_s=1.0) is None
    assert network.send(0, 2, NOTHING, now_s=2.0) == 3.5
    assert network.send(0, 3, NOTHING, now_s=3.0) is None
    network.send_waiting(0, 3.5)
    network.send_waiting(0, 3.5)
    assert sent == [2, 0]
    assert taken(network, 1, 3.5) == [1]
    assert taken(network, 1, 6.0) == [3]


def test_messages_within_a_node_arrive_at_once_and_pass_no_port() -> None:
    sent = [0.0] * 4
    graph = topology.hierarchical(4, 2)
    network = Network(graph, "any", 2.0, 0.5, sent, learners_per_node=2)
    for version, now_s in ((1, 1.0), (2, 1.5)):
        network.send(0, version, NOTHING, now_s=now_s)
        assert taken(network, 1, now_s) == [version]
    assert taken(network, 2, 3.4) == []
    assert taken(network, 2, 3.5) == [1]
    assert sent == [1, 0, 0, 0]
    network.lose(0)
    network.send_waiting(0, 3.5)
    assert taken(network, 2, 99.0) == []


def test_copies_for_several_receivers_leave_one_after_another() -> None:
    sent = [0.0] * 4
    network = Network(topology.complete(4), "any", 1.0, 0.0, sent)
    network.send(0, 1, NOTHING, now_s=0.0)
    assert [len(network.take(receiver, 1, 2.0)) for receiver in (1, 2, 3)] == [1, 1, 0]
    assert network.send(0, 2, NOTHING, now_s=2.5) == 3.0
    assert sent == [3, 0, 0, 0]


def test_a_receiver_that_never_looks_keeps_one_message_alone() -> None:
    network, _ = pair(message_s=0.0, latency_s=1.0)
    for version in range(1, 1000):
        network.send(0, version, NOTHING, now_s=float(version))
    assert len(network._inbox[1][0]) <= 3
    assert taken(network, 1, 2000.0) == [999]


@pytest.mark.parametrize("when", ["all", "any"])
def test_nobody_waits_for_the_dead_until_they_are_heard_again(when: Literal["all", "any"]) -> None:
    network = Network(topology.undirected_ring(4), when, 0.0, 0.0, [0.0] * 4)
    network.send(1, 1, NOTHING, now_s=1.0)
    network.lose(3)
    assert [x.sender for x in network.take(0, 1, 1.0)] == [1]
    network.send(1, 2, NOTHING, now_s=2.0)
    network.send(3, 5, NOTHING, now_s=2.0)
    assert [x.sender for x in network.take(0, 2, 2.0)] == [1, 3]
    network.send(1, 3, NOTHING, now_s=3.0)
    assert [x.sender for x in network.take(0, 3, 3.0)] == ([] if when == "all" else [1])


def test_what_waits_for_a_port_dies_with_its_learner() -> None:
    network, sent = pair(message_s=2.5, latency_s=0.0)
    network.send(0, 1, NOTHING, now_s=1.0)
    network.send(0, 2, NOTHING, now_s=2.0)
    network.lose(0)
    network.send_waiting(0, 3.5)
    assert sent == [1, 0]
    assert taken(network, 1, 9.0) == []
