"""Gossip between complete learners averages, survives bad messages and never hangs."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from gala_rl.gossip import (
    Gossip,
    MemoryNetwork,
    Message,
    SharedMailboxes,
    Topology,
    complete,
    directed_ring,
    rotating_exponential,
    undirected_ring,
)
from gala_rl.gossip.topology import isolated
from gala_rl.processes.heartbeat import set_heartbeat


def learners_on(
    topology: Topology, network: MemoryNetwork | None = None, size: int = 4, **settings: Any
) -> tuple[list[torch.Tensor], list[Gossip]]:
    """One vector full of its rank, and one end of the network, a learner."""
    network = network or MemoryNetwork(topology.learners)
    vectors = [torch.full((size,), float(rank)) for rank in range(topology.learners)]
    gossips = [
        Gossip(vector, network.transport(rank), rank, topology, **settings)
        for rank, vector in enumerate(vectors)
    ]
    return vectors, gossips


def spread(vectors: list[torch.Tensor]) -> float:
    stacked = torch.stack(vectors)
    return float((stacked.max(dim=0).values - stacked.min(dim=0).values).max())


def test_two_learners_in_turn_mix_what_is_known_by_hand() -> None:
    vectors, (first, second) = learners_on(directed_ring(2), size=1)
    vectors[0].fill_(0.0)
    vectors[1].fill_(8.0)
    assert first.exchange() == 0
    assert second.exchange() == 1
    assert vectors[1].item() == 4.0
    # The second had sent 8 before it mixed: a learner sends what it has learned itself.
    assert first.exchange() == 1
    assert vectors[0].item() == 4.0
    assert (first.node.version, second.node.version) == (2, 1)


def test_an_undirected_ring_mixes_both_neighbours_with_equal_weight() -> None:
    vectors, gossips = learners_on(undirected_ring(3), size=1)
    assert [gossip.exchange() for gossip in gossips] == [0, 0, 2]
    assert vectors[2].item() == pytest.approx((0 + 1 + 2) / 3)
    assert vectors[0].item() == 0.0


@pytest.mark.parametrize("learners", [2, 3, 4, 8])
def test_a_ring_that_mixes_in_turn_comes_to_agree(learners: int) -> None:
    vectors, gossips = learners_on(directed_ring(learners))
    for _ in range(300):
        for gossip in gossips:
            gossip.exchange()
    assert spread(vectors) < 1e-4
    assert vectors[0].min() >= 0
    assert vectors[0].max() <= learners - 1


def test_rotating_gossip_comes_to_agree_when_all_learners_keep_step() -> None:
    vectors, gossips = learners_on(rotating_exponential(8), when="any")
    for _ in range(100):
        for gossip in gossips:
            gossip.exchange()
    assert spread(vectors) < 1e-4
    # Only the first message for each distance can be missing.
    assert all(gossip.node.mixes >= 97 for gossip in gossips)


def test_shared_mailboxes_carry_the_same_gossip_as_the_memory_network() -> None:
    results = []
    for network in (MemoryNetwork(4), SharedMailboxes(4, 5)):
        vectors = [torch.linspace(rank, rank + 1, 5) for rank in range(4)]
        gossips = [
            Gossip(vectors[rank], network.transport(rank), rank, undirected_ring(4))
            for rank in range(4)
        ]
        for _ in range(10):
            for gossip in gossips:
                gossip.exchange()
        results.append(torch.stack(vectors))
    assert torch.equal(results[0], results[1])


def test_a_learner_alone_exchanges_nothing() -> None:
    vectors, (alone,) = learners_on(directed_ring(1), max_staleness=0, deadline_s=1e9)
    vectors[0].fill_(3.0)
    assert [alone.exchange() for _ in range(5)] == [0] * 5
    assert vectors[0].tolist() == [3.0] * 4
    assert alone.node.version == 5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_number_in_one_learner_reaches_no_other(bad: float) -> None:
    vectors, gossips = learners_on(complete(4), when="any")
    for turn in range(20):
        if turn == 5:
            vectors[2][1] = bad
        for gossip in gossips:
            gossip.exchange()
    assert all(torch.isfinite(vectors[rank]).all() for rank in (0, 1, 3))
    assert all(gossips[rank].node.rejected["not finite"] >= 14 for rank in (0, 1, 3))
    assert spread([vectors[rank] for rank in (0, 1, 3)]) < 0.1


def test_a_message_of_another_size_is_not_mixed() -> None:
    network = MemoryNetwork(2)
    small, large = torch.zeros(3), torch.ones(4)
    topology = directed_ring(2)
    first = Gossip(small, network.transport(0), 0, topology)
    second = Gossip(large, network.transport(1), 1, topology)
    first.exchange()
    assert second.exchange() == 0
    assert large.tolist() == [1.0] * 4
    assert second.node.rejected == {"wrong size": 1}


def test_a_wait_for_a_silent_neighbour_ends_at_the_deadline() -> None:
    vectors, (waiting, _) = learners_on(directed_ring(2), max_staleness=0, deadline_s=0.01)
    set_heartbeat(life := np.zeros(1, dtype=np.int64))
    life[0] = 0
    assert waiting.exchange() == 0
    set_heartbeat(np.zeros(1, dtype=np.int64))
    assert life[0] > 0, "who waits lives"
    assert waiting.wait_s >= 0.01
    assert waiting.node.overdue == 1
    assert vectors[0].tolist() == [0.0] * 4


def test_a_neighbour_given_up_once_is_not_waited_for_again_until_it_sends() -> None:
    vectors, (first, second) = learners_on(directed_ring(2), max_staleness=0, deadline_s=0.01)
    first.exchange()
    waited = first.wait_s
    for _ in range(5):
        assert first.exchange() == 0
    assert first.wait_s == waited
    assert first.node.overdue == 1
    assert second.exchange() == 1
    assert first.exchange() == 1
    assert vectors[0].tolist() == [0.5] * 4
    # Back among the living, its silence is waited for again.
    assert first.exchange() == 0
    assert first.node.overdue == 2


def test_a_wait_with_some_neighbours_mixes_those_at_the_deadline() -> None:
    vectors, gossips = learners_on(undirected_ring(3), max_staleness=0, deadline_s=0.01)
    gossips[1].exchange()
    assert gossips[0].exchange() == 1
    assert vectors[0].tolist() == [0.5] * 4
    assert gossips[0].node.overdue == 1


def test_a_wait_goes_on_polling_until_a_late_message_is_there() -> None:
    # Held back for three polls: the first is the exchange's own, the others are the wait's.
    network = MemoryNetwork(2, delay=lambda sender, receiver, version: 3)
    vectors, (first, second) = learners_on(
        directed_ring(2), network, max_staleness=1, deadline_s=1e9
    )
    second.exchange()
    assert first.exchange() == 0
    assert first.exchange() == 1
    assert vectors[0].tolist() == [0.5] * 4
    assert first.wait_s > 0
    assert first.node.overdue == 0


def test_a_neighbour_known_to_be_dead_is_not_waited_for() -> None:
    network = MemoryNetwork(3)
    vectors, gossips = learners_on(undirected_ring(3), network, max_staleness=0, deadline_s=1e9)
    network.kill(1)
    network.kill(2)
    assert gossips[0].exchange() == 0
    assert gossips[0].wait_s == 0
    gossips[2].exchange()
    assert gossips[0].exchange() == 1
    assert vectors[0].tolist() == [1.0] * 4


def test_without_max_staleness_no_learner_waits_for_a_silent_one() -> None:
    _, gossips = learners_on(directed_ring(2), deadline_s=1e9)
    assert [gossips[0].exchange() for _ in range(50)] == [0] * 50
    assert gossips[0].wait_s == 0


def test_lost_messages_are_simply_not_mixed() -> None:
    network = MemoryNetwork(2, delay=lambda sender, receiver, version: None if version % 2 else 0)
    _, (first, second) = learners_on(directed_ring(2), network)
    counts = []
    for _ in range(6):
        first.exchange()
        counts.append(second.exchange())
    assert counts == [0, 1, 0, 1, 0, 1]


def test_a_message_overtaken_by_a_newer_one_is_not_mixed() -> None:
    delays = {1: 2, 2: 0, 3: 0}
    network = MemoryNetwork(2, delay=lambda sender, receiver, version: delays[version])
    transport = network.transport(0)
    vectors, (_, second) = learners_on(directed_ring(2), network, size=1)
    vectors[1].fill_(0.0)
    counts = []
    for version, value in ((1, 1.0), (2, 2.0), (3, 4.0)):
        transport.send(Message(0, version, torch.tensor([value])), [1])
        counts.append(second.exchange())
    assert counts == [0, 1, 1]
    assert vectors[1].item() == ((0.0 + 2.0) / 2 + 4.0) / 2
    assert not second.node.rejected


def test_learners_agree_in_spite_of_delays_and_losses() -> None:
    def delay(sender: int, receiver: int, version: int) -> int | None:
        chance = (7 * sender + 3 * receiver + 5 * version) % 11
        return None if chance < 3 else chance % 4

    vectors, gossips = learners_on(complete(5), MemoryNetwork(5, delay), when="any")
    for _ in range(300):
        for gossip in gossips:
            gossip.exchange()
    assert spread(vectors) < 1e-3
    assert min(float(v.min()) for v in vectors) >= 0
    assert max(float(v.max()) for v in vectors) <= 4


def test_the_version_may_be_the_learners_own_count_of_updates() -> None:
    network = MemoryNetwork(2)
    _, (first, second) = learners_on(directed_ring(2), network)
    first.exchange(version=10)
    sent = network.latest(0)
    assert sent is not None
    assert sent.version == 10
    second.exchange(version=3)
    assert second.node.mixed_versions == {0: 10}
    first.exchange()
    assert first.node.version == 11


@pytest.mark.parametrize("network", [MemoryNetwork(3), SharedMailboxes(3, 4)])
def test_learners_go_on_in_another_graph(network: MemoryNetwork | SharedMailboxes) -> None:
    vectors = [torch.full((4,), float(rank)) for rank in range(3)]
    alone = Gossip(vectors[0], network.transport(0), 0, directed_ring(1))
    assert not alone.has_neighbours
    assert (alone.outbox(), alone.exchange()) == (None, 0)
    assert network.latest(0) is None, "a learner alone sends to nobody"
    alone.change_topology(directed_ring(3))
    others = [Gossip(vectors[r], network.transport(r), r, directed_ring(3)) for r in (1, 2)]
    for _ in range(300):
        for gossip in (alone, *others):
            gossip.exchange()
    assert spread(vectors) < 1e-4
    for gossip in (alone, *others):
        gossip.change_topology(isolated(3))
        assert (gossip.outbox(), gossip.exchange()) == (None, 0)
    last = network.latest(0)
    assert last is not None
    assert last.version == 301
