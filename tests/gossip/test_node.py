"""Proves each rule of the protocol as a scripted scenario: no processes, no clock, no I/O."""

import pytest

from gala_rl.gossip.node import GossipNode, Mix, Proceed, Send, Wait
from gala_rl.gossip.topology import (
    directed_ring,
)
from tests.gossip.nodes import SIZE, listener, message, mixed, updated

# Rule 1: sending.


def test_after_an_update_the_node_sends_to_all_out_neighbours() -> None:
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


def test_with_any_the_node_mixes_all_new_messages() -> None:
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


def test_a_wait_names_only_the_missing_neighbours_and_ends_when_they_have_sent() -> None:
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
