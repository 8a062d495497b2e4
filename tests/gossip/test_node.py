"""Proves each rule of the protocol as a scripted scenario: no processes, no clock, no I/O."""

import math
from typing import Any

import pytest
import torch

from gala_rl.gossip.message import Message
from gala_rl.gossip.node import GossipNode, Mix, Proceed, Send, Wait
from gala_rl.gossip.topology import (
    Topology,
    complete,
    directed_ring,
    rotating_exponential,
    undirected_ring,
)

SIZE = 3


def message(sender: int, version: int, value: float = 1.0, size: int = SIZE) -> Message:
    return Message(sender, version, torch.full((size,), value, dtype=torch.float32))


def listener(**settings: Any) -> GossipNode:
    """Learner 0 of four on an undirected ring: hears 1 and 3."""
    return GossipNode(0, undirected_ring(4), size=SIZE, **settings)


def updated(node: GossipNode, updates: int = 1) -> GossipNode:
    """The node after so many updates of its own."""
    for _ in range(updates):
        node.on_update(node.version + 1)
    return node


def mixed(node: GossipNode) -> list[tuple[int, int]]:
    """Sender and version of each message the node decides to mix and is told to have mixed."""
    decision = node.decide()
    assert isinstance(decision, Mix), decision
    node.on_mixed(decision)
    return [(m.sender, m.version) for m in decision.messages]


# Rule 1: sending.


def test_after_an_update_the_node_sends_to_all_who_hear_it() -> None:
    assert listener().on_update(1) == Send(1, (1, 3))
    assert GossipNode(2, directed_ring(5), size=SIZE).on_update(7) == Send(7, (3,))


def test_sending_does_not_depend_on_anything_having_been_heard() -> None:
    node = listener()
    for version in range(1, 100):
        assert node.on_update(version) == Send(version, (1, 3))
        assert node.decide() == Proceed()


def test_versions_of_a_node_must_grow() -> None:
    node = updated(listener(), 3)
    with pytest.raises(ValueError, match="version 3 is not newer than 3"):
        node.on_update(3)
    assert node.version == 3


def test_a_rank_outside_the_topology_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 4 is outside the topology's 4 learners"):
        GossipNode(4, directed_ring(4), size=SIZE)


# Rule 2: mixing what has come.


def test_with_all_the_node_goes_on_until_every_neighbour_has_news() -> None:
    node = updated(listener(when="all"))
    assert node.decide() == Proceed()
    assert node.on_message(message(3, 1)) is None
    assert node.decide() == Proceed()
    assert node.on_message(message(1, 5)) is None
    assert mixed(node) == [(1, 5), (3, 1)]


def test_with_any_the_node_mixes_whoever_has_news() -> None:
    node = updated(listener(when="any"))
    assert node.decide() == Proceed()
    node.on_message(message(3, 1))
    assert mixed(node) == [(3, 1)]


def test_what_was_mixed_is_not_mixed_again() -> None:
    node = updated(listener(when="any"))
    node.on_message(message(1, 1))
    node.on_message(message(3, 1))
    assert mixed(node) == [(1, 1), (3, 1)]
    assert updated(node).decide() == Proceed()
    node.on_message(message(1, 2))
    assert mixed(node) == [(1, 2)]


def test_with_all_a_second_mix_needs_news_from_every_neighbour_again() -> None:
    node = updated(listener(when="all"))
    node.on_message(message(1, 1))
    node.on_message(message(3, 1))
    assert len(mixed(node)) == 2
    node.on_message(message(1, 2))
    assert updated(node).decide() == Proceed()
    node.on_message(message(3, 2))
    assert mixed(node) == [(1, 2), (3, 2)]


def test_the_latest_message_of_a_sender_wins() -> None:
    node = updated(GossipNode(0, directed_ring(2), size=SIZE))
    for version in (1, 2, 7):
        assert node.on_message(message(1, version, value=float(version))) is None
    decision = node.decide()
    assert isinstance(decision, Mix)
    assert [(m.version, m.parameters.tolist()) for m in decision.messages] == [(7, [7.0] * SIZE)]


def test_mixes_and_mixed_versions_are_counted() -> None:
    node = updated(listener())
    assert node.mixed_versions == {1: 0, 3: 0}
    node.on_message(message(1, 4))
    node.on_message(message(3, 9))
    assert (node.mixes, node.mixed_versions) == (0, {1: 0, 3: 0})
    assert len(mixed(node)) == 2
    assert (node.mixes, node.mixed_versions) == (1, {1: 4, 3: 9})


# Rule 3: staleness.


def test_without_a_bound_the_node_never_waits() -> None:
    node = listener()
    for _ in range(1000):
        assert updated(node).decide() == Proceed()
    assert node.staleness_updates == 1000


@pytest.mark.parametrize("bound", [0, 1, 5])
def test_the_node_waits_once_more_than_the_bound_of_updates_went_by(bound: int) -> None:
    node = listener(max_staleness=bound)
    for _ in range(bound):
        assert updated(node).decide() == Proceed()
    assert updated(node).decide() == Wait((1, 3))


def test_updates_that_are_skipped_in_the_count_make_it_staler_too() -> None:
    node = listener(max_staleness=5)
    node.on_update(6)
    assert node.staleness_updates == 6
    assert node.decide() == Wait((1, 3))


def test_a_wait_names_only_those_who_are_missing_and_ends_when_they_have_sent() -> None:
    node = updated(listener(max_staleness=0))
    assert node.decide() == Wait((1, 3))
    node.on_message(message(1, 1))
    assert node.decide() == Wait((3,))
    node.on_message(message(3, 1))
    assert mixed(node) == [(1, 1), (3, 1)]


def test_with_any_one_neighbour_ends_the_wait() -> None:
    node = updated(listener(when="any", max_staleness=0))
    assert node.decide() == Wait((1, 3))
    node.on_message(message(3, 1))
    assert mixed(node) == [(3, 1)]


def test_a_mix_makes_the_node_fresh_again() -> None:
    node = updated(listener(when="any", max_staleness=2), 3)
    node.on_message(message(1, 1))
    assert mixed(node) == [(1, 1)]
    assert node.staleness_updates == 0
    assert updated(node, 2).decide() == Proceed()
    assert updated(node).decide() == Wait((1, 3))


def test_a_message_alone_does_not_make_the_node_fresh() -> None:
    node = updated(listener(max_staleness=2), 3)
    node.on_message(message(1, 1))
    assert node.staleness_updates == 3


# Rule 4: the dead and the silent.


def test_a_dead_neighbour_is_left_out_of_the_mix() -> None:
    node = updated(listener())
    node.on_message(message(1, 1))
    node.on_peer_down(3)
    assert mixed(node) == [(1, 1)]


def test_what_a_neighbour_sent_before_it_died_is_not_mixed() -> None:
    node = updated(listener())
    node.on_message(message(3, 8))
    node.on_peer_down(3)
    node.on_message(message(1, 1))
    assert mixed(node) == [(1, 1)]
    assert node.mixed_versions[3] == 0


def test_a_dead_neighbour_is_not_waited_for() -> None:
    node = updated(listener(max_staleness=0))
    node.on_peer_down(3)
    assert node.decide() == Wait((1,))
    node.on_peer_down(1)
    assert node.decide() == Proceed()


def test_nobody_alive_means_going_on_alone_without_end() -> None:
    node = listener(max_staleness=3)
    node.on_peer_down(1)
    node.on_peer_down(3)
    for _ in range(100):
        assert updated(node).decide() == Proceed()
    assert node.mixes == 0


def test_the_next_message_of_a_dead_neighbour_revives_it() -> None:
    node = updated(listener())
    node.on_peer_down(3)
    node.on_message(message(3, 1))
    assert node.decide() == Proceed()
    node.on_message(message(1, 1))
    assert mixed(node) == [(1, 1), (3, 1)]
    node.on_message(message(1, 2))
    assert updated(node).decide() == Proceed()


def test_a_message_sent_before_the_death_does_not_revive() -> None:
    node = updated(listener(max_staleness=0))
    node.on_message(message(3, 5))
    node.on_peer_down(3)
    assert node.on_message(message(3, 5)) == "not newer"
    assert node.decide() == Wait((1,))


def test_a_message_that_is_rejected_does_not_revive() -> None:
    node = updated(listener(max_staleness=0))
    node.on_peer_down(3)
    assert node.on_message(message(3, 5, value=math.nan)) == "not finite"
    assert node.decide() == Wait((1,))


def test_at_the_deadline_a_silent_neighbour_is_given_up() -> None:
    node = updated(listener(max_staleness=0))
    node.on_message(message(1, 1))
    assert node.decide() == Wait((3,))
    node.on_deadline()
    assert mixed(node) == [(1, 1)]
    assert node.overdue == 1


def test_at_the_deadline_of_a_wait_for_all_the_node_goes_on_alone() -> None:
    node = updated(listener(max_staleness=0))
    assert node.decide() == Wait((1, 3))
    node.on_deadline()
    assert node.decide() == Proceed()
    assert node.overdue == 2
    assert updated(node).decide() == Proceed()


def test_the_next_message_of_a_neighbour_that_was_given_up_brings_it_back() -> None:
    node = updated(listener(max_staleness=0))
    node.on_deadline()
    node.on_message(message(3, 1))
    assert mixed(node) == [(3, 1)]
    assert updated(node).decide() == Wait((3,))


def test_a_deadline_spares_those_who_have_sent() -> None:
    node = updated(listener(max_staleness=0))
    node.on_message(message(1, 1))
    node.on_deadline()
    assert mixed(node) == [(1, 1)]
    assert updated(node).decide() == Wait((1,))


def test_nothing_counts_as_mixed_before_it_is() -> None:
    node = updated(listener(), 2)
    node.on_message(message(1, 4))
    node.on_message(message(3, 9))
    for _ in range(3):
        decision = node.decide()
        assert isinstance(decision, Mix)
        assert (node.mixes, node.staleness_updates) == (0, 2)
    node.on_message(message(3, 10))  # in the place of one that was overwritten meanwhile
    assert mixed(node) == [(1, 4), (3, 10)]
    assert (node.mixes, node.staleness_updates) == (1, 0)
    assert node.decide() == Proceed()


# Rule 5: what is rejected.


@pytest.mark.parametrize("version", [1, 4, 5])
def test_a_message_that_is_not_newer_is_rejected(version: int) -> None:
    node = updated(listener(when="any"))
    assert node.on_message(message(1, 5, value=2.0)) is None
    assert node.on_message(message(1, version, value=9.0)) == "not newer"
    decision = node.decide()
    assert isinstance(decision, Mix)
    assert decision.messages[0].parameters.tolist() == [2.0] * SIZE
    assert node.rejected == {"not newer": 1}


def test_a_message_is_still_too_old_after_the_newer_one_was_mixed() -> None:
    node = updated(listener(when="any"))
    node.on_message(message(1, 5))
    assert mixed(node) == [(1, 5)]
    assert node.on_message(message(1, 5)) == "not newer"
    assert node.decide() == Proceed()


@pytest.mark.parametrize("sender", [0, 2, 4, -1])
def test_a_message_of_someone_who_is_no_neighbour_is_rejected(sender: int) -> None:
    node = updated(listener(when="any"))
    assert node.on_message(message(sender, 1)) == "not a neighbour"
    assert node.decide() == Proceed()
    assert node.rejected == {"not a neighbour": 1}


@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
def test_a_message_of_another_size_is_rejected(size: int) -> None:
    node = updated(listener(when="any"))
    assert node.on_message(message(1, 1, size=size)) == "wrong size"
    assert node.decide() == Proceed()
    assert node.rejected == {"wrong size": 1}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_message_that_is_not_finite_is_rejected(bad: float) -> None:
    node = updated(listener(when="any"))
    assert node.on_message(Message(1, 1, torch.tensor([0.0, bad, 0.0]))) == "not finite"
    assert node.decide() == Proceed()
    assert node.rejected == {"not finite": 1}


def test_rejections_are_counted_by_reason() -> None:
    node = updated(listener())
    node.on_message(message(1, 2))
    node.on_message(message(1, 1))
    node.on_message(message(1, 2))
    node.on_message(message(3, 1, value=math.nan))
    node.on_message(message(2, 1))
    assert node.rejected == {"not newer": 2, "not finite": 1, "not a neighbour": 1}


@pytest.mark.parametrize("bad", [message(1, 2, value=math.nan), message(1, 2, size=SIZE + 1)])
def test_a_bad_message_voids_what_the_same_sender_sent_before(bad: Message) -> None:
    node = updated(listener())
    node.on_message(message(1, 1))
    node.on_message(message(3, 1))
    assert node.on_message(bad) is not None
    assert node.decide() == Proceed()
    node.on_message(message(1, 3))
    assert mixed(node) == [(1, 3), (3, 1)]


def test_an_old_bad_message_voids_nothing() -> None:
    node = updated(listener(when="any"))
    node.on_message(message(1, 5))
    assert node.on_message(message(1, 4, value=math.nan)) == "not newer"
    assert mixed(node) == [(1, 5)]


def test_a_sender_of_nothing_but_nan_is_waited_for_until_the_deadline() -> None:
    node = updated(listener(max_staleness=0))
    node.on_message(message(1, 1, value=math.nan))
    node.on_message(message(3, 1))
    assert node.decide() == Wait((1,))
    node.on_deadline()
    assert mixed(node) == [(3, 1)]


# Continuing from a checkpoint.


def test_a_restored_node_knows_what_it_had_mixed() -> None:
    node = listener(when="any", max_staleness=10)
    node.restore(version=20, mixed_versions={1: 7, 3: 9}, staleness_updates=4)
    assert (node.version, node.staleness_updates) == (20, 4)
    assert node.mixed_versions == {1: 7, 3: 9}
    assert node.on_message(message(1, 7)) == "not newer"
    assert node.on_message(message(3, 10)) is None
    assert node.on_update(21) == Send(21, (1, 3))
    assert mixed(node) == [(3, 10)]


def test_a_restored_node_is_as_stale_as_it_was() -> None:
    node = listener(max_staleness=5)
    node.restore(version=20, mixed_versions={1: 7, 3: 9}, staleness_updates=5)
    assert updated(node).decide() == Wait((1, 3))


def test_restoring_drops_what_came_before_and_accepts_it_anew() -> None:
    node = updated(listener(when="any"))
    node.on_message(message(1, 8))
    node.restore(version=20, mixed_versions={1: 7}, staleness_updates=0)
    assert node.decide() == Proceed()
    assert node.mixed_versions == {1: 7, 3: 0}
    assert node.on_message(message(1, 8)) is None
    assert mixed(node) == [(1, 8)]


# Topologies that change from round to round.


def test_a_rotating_node_sends_to_and_hears_the_neighbour_of_the_round() -> None:
    node = GossipNode(0, rotating_exponential(8), size=SIZE)
    receivers, heard = [], []
    for version in range(1, 7):
        receivers.append(node.on_update(version).receivers)
        heard.append(node.listening_to)
    assert receivers == [(2,), (4,), (1,), (2,), (4,), (1,)]
    assert heard == [(6,), (4,), (7,), (6,), (4,), (7,)]


def test_a_rotating_node_mixes_only_the_neighbour_of_the_round_and_keeps_the_others() -> None:
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


def test_what_those_who_stay_have_sent_is_mixed_and_what_those_who_go_have_sent_is_not() -> None:
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


def test_counters_and_what_was_mixed_of_those_who_stay_are_kept() -> None:
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


def test_whoever_returns_is_heard_by_what_it_sends_from_then_on() -> None:
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


def test_a_learner_that_was_told_dead_stays_so_until_it_sends() -> None:
    node = updated(listener(max_staleness=0))
    node.on_peer_down(3)
    node.change_topology(undirected_ring(2))
    node.change_topology(undirected_ring(4))
    assert node.decide() == Wait((1,))
    node.on_message(message(1, 1))
    assert mixed(node) == [(1, 1)]


def test_a_learner_alone_waits_for_nobody() -> None:
    node = updated(listener(max_staleness=0))
    assert isinstance(node.decide(), Wait)
    node.change_topology(directed_ring(1))
    assert node.decide() == Proceed()
    assert node.on_update(2) == Send(2, ())


def test_nobody_goes_on_in_a_graph_that_it_is_not_in() -> None:
    with pytest.raises(ValueError, match="learner 2 is not among 2"):
        GossipNode(2, directed_ring(3), size=SIZE).change_topology(directed_ring(2))
