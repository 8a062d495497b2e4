"""Rules of the protocol for rejected messages and restored nodes."""

import math

import pytest
import torch

from gala_rl.gossip.message import Message
from gala_rl.gossip.node import Mix, Proceed, Send, Wait
from tests.gossip.nodes import SIZE, listener, message, mixed, updated

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
def test_a_message_of_a_learner_that_is_no_neighbour_is_rejected(sender: int) -> None:
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
