"""Rules of the protocol for neighbours that die, are silent, return or are missing."""

import math

from gala_rl.gossip.node import Mix, Proceed, Wait
from tests.gossip.nodes import listener, message, mixed, updated

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


def test_without_live_neighbours_a_learner_continues_alone_without_end() -> None:
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


def test_a_deadline_spares_neighbours_that_have_sent() -> None:
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
