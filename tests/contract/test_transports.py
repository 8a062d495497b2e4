"""Proves that every transport keeps the one contract: the latest message, whole, once, in order."""

import pytest
import torch

from gala_rl.gossip import MemoryNetwork, Message, PeerDown
from tests.contract.networks import (
    LEARNERS,
    SIZES,
    Network,
    SupervisedMailboxes,
    make_network,
    received,
    revive,
    vector,
)


@pytest.fixture(params=["memory", "shared", "faultless-memory", "faultless-shared"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def network(kind: str, size: int) -> MemoryNetwork | SupervisedMailboxes:
    return make_network(kind, size)


def test_there_is_nothing_to_receive_at_first(network: Network) -> None:
    assert network.transport(0).poll([1, 2, 3]) == []
    assert network.latest(1) is None
    assert not network.is_down(1)


def test_a_message_arrives_whole_with_sender_and_version(network: Network, size: int) -> None:
    sent = vector(size, 0.5)
    network.transport(2).send(Message(2, 7, sent), [0])
    (event,) = network.transport(0).poll([2])
    assert isinstance(event, Message)
    assert (event.sender, event.version) == (2, 7)
    assert event.parameters.dtype == torch.float32
    assert event.parameters.device.type == "cpu"
    assert torch.equal(event.parameters, sent)


def test_any_bits_arrive_as_they_are(network: Network, size: int) -> None:
    sent = vector(size, -0.0)
    sent[0] = torch.nan
    sent[-1] = -torch.inf
    network.transport(1).send(Message(1, 1, sent), [0])
    (event,) = network.transport(0).poll([1])
    assert isinstance(event, Message)
    assert torch.equal(event.parameters.view(torch.int32), sent.view(torch.int32))


def test_the_sender_may_change_its_vector_once_it_has_sent(network: Network, size: int) -> None:
    mine = vector(size, 3.0)
    network.transport(1).send(Message(1, 1, mine), [0])
    mine.fill_(-1.0)
    assert received(network.transport(0), [1]) == [(1, 1, 3.0)]


def test_a_sender_gets_back_what_it_has_sent_and_may_rely_on_it(
    network: Network, size: int
) -> None:
    sender, mine = network.transport(1), torch.empty(size)
    for version in range(1, 10):
        mine.copy_(vector(size, version))
        sent = sender.send(Message(1, version, mine), [0])
        mine.fill_(-1.0)
        network.transport(2).send(Message(2, version, vector(size, 100.0)), [0, 1])
        assert (sent.sender, sent.version) == (1, version)
        assert torch.equal(sent.parameters, vector(size, version))
        assert sent.is_whole()


def test_what_is_written_into_the_outbox_is_sent_as_if_it_had_been_copied(
    network: Network, size: int
) -> None:
    sender, receiver = network.transport(1), network.transport(0)
    for version in range(1, 10):
        outbox = sender.outbox()
        if outbox is None:
            pytest.skip("this network has no outbox")
        assert receiver.poll([1]) == [], "not before it is sent"
        outbox.copy_(vector(size, version))
        sent = sender.send(Message(1, version, outbox), [0])
        assert sent.parameters.data_ptr() == outbox.data_ptr(), "not copied"
        assert received(receiver, [1]) == [(1, version, float(version))]


def test_while_the_outbox_is_filled_the_message_before_is_there(
    network: Network, size: int
) -> None:
    sender = network.transport(1)
    for version in range(1, 8):
        sender.send(Message(1, version, vector(size, version)), [0])
        outbox = sender.outbox()
        if outbox is None:
            pytest.skip("this network has no outbox")
        outbox.fill_(-1.0)
        late = network.transport(2)
        assert received(late, [1]) == [(1, version, float(version))]
        # Asked for and not used, for example by a learner that died: the next send copies.


def test_a_message_that_says_it_is_whole_is(network: Network, size: int) -> None:
    sender, receiver = network.transport(1), network.transport(0)
    held: list[Message] = []
    for version in range(1, 20):
        sender.send(Message(1, version, vector(size, version)), [0])
        (event,) = receiver.poll([1])
        assert isinstance(event, Message)
        held.append(event)
        whole = [message for message in held if message.is_whole()]
        assert whole[-3:] == held[-3:], "the last three are, at least"
        for message in whole:
            assert torch.equal(message.parameters, vector(size, message.version))


def test_a_vector_that_needs_a_gradient_is_sent_without_it(network: Network, size: int) -> None:
    mine = vector(size, 3.0).requires_grad_()
    network.transport(1).send(Message(1, 1, mine), [0])
    (event,) = network.transport(0).poll([1])
    assert isinstance(event, Message)
    assert not event.parameters.requires_grad


def test_of_several_messages_only_the_latest_is_delivered(network: Network, size: int) -> None:
    sender, receiver = network.transport(1), network.transport(0)
    for version in (1, 2, 3, 9):
        sender.send(Message(1, version, vector(size, version)), [0])
    assert received(receiver, [1]) == [(1, 9, 9.0)]
    assert receiver.poll([1]) == []


def test_a_message_is_delivered_once(network: Network, size: int) -> None:
    receiver = network.transport(0)
    network.transport(1).send(Message(1, 1, vector(size, 1.0)), [0])
    assert len(receiver.poll([1])) == 1
    assert [receiver.poll([1]) for _ in range(3)] == [[], [], []]


def test_versions_of_what_is_delivered_grow(network: Network, size: int) -> None:
    sender, receiver = network.transport(1), network.transport(0)
    delivered = []
    for version in range(1, 21):
        sender.send(Message(1, version, vector(size, version)), [0])
        if version % 3 == 0:
            delivered += received(receiver, [1])
    assert delivered == [(1, version, float(version)) for version in range(3, 21, 3)]


def test_every_receiver_gets_the_message(network: Network, size: int) -> None:
    receivers = [network.transport(rank) for rank in (0, 2, 3)]
    network.transport(1).send(Message(1, 5, vector(size, 1.0)), [0, 2, 3])
    assert [received(receiver, [1]) for receiver in receivers] == [[(1, 5, 1.0)]] * 3
    assert [receiver.poll([1]) for receiver in receivers] == [[], [], []]


def test_one_receiver_may_lag_behind_another(network: Network, size: int) -> None:
    sender, quick, slow = network.transport(1), network.transport(0), network.transport(2)
    sender.send(Message(1, 1, vector(size, 1.0)), [0, 2])
    assert received(quick, [1]) == [(1, 1, 1.0)]
    sender.send(Message(1, 2, vector(size, 2.0)), [0, 2])
    assert received(quick, [1]) == [(1, 2, 2.0)]
    assert received(slow, [1]) == [(1, 2, 2.0)]


def test_a_poll_returns_only_messages_of_the_given_senders(network: Network, size: int) -> None:
    receiver = network.transport(0)
    for sender in (1, 2, 3):
        network.transport(sender).send(Message(sender, 1, vector(size, sender)), [0])
    assert receiver.poll([]) == []
    assert received(receiver, [2]) == [(2, 1, 2.0)]
    assert sorted(received(receiver, [1, 2, 3])) == [(1, 1, 1.0), (3, 1, 3.0)]


def test_a_dead_learner_is_announced_once(
    network: MemoryNetwork | SupervisedMailboxes, size: int
) -> None:
    receiver = network.transport(0)
    network.kill(1)
    assert network.is_down(1)
    assert receiver.poll([1, 2]) == [PeerDown(1)]
    assert [receiver.poll([1, 2]) for _ in range(3)] == [[], [], []]


def test_a_death_is_announced_to_each_receiver_that_asks(
    network: MemoryNetwork | SupervisedMailboxes,
) -> None:
    network.kill(1)
    assert network.transport(0).poll([2]) == []
    assert network.transport(0).poll([1]) == [PeerDown(1)]
    assert network.transport(2).poll([1]) == [PeerDown(1)]


def test_what_a_learner_sent_before_its_death_is_not_delivered_while_it_is_dead(
    network: MemoryNetwork | SupervisedMailboxes, size: int
) -> None:
    receiver = network.transport(0)
    network.transport(1).send(Message(1, 1, vector(size, 1.0)), [0])
    network.kill(1)
    assert receiver.poll([1]) == [PeerDown(1)]
    assert receiver.poll([1]) == []


def test_a_learner_that_is_back_is_heard_again_and_its_next_death_announced(
    network: MemoryNetwork | SupervisedMailboxes, size: int
) -> None:
    receiver = network.transport(0)
    for version in (1, 2, 3):
        network.kill(1)
        assert receiver.poll([1]) == [PeerDown(1)]
        # The restarted learner has a new end of the network.
        network.transport(1).send(Message(1, version, vector(size, version)), [0])
        revive(network, 1)
        assert not network.is_down(1)
        assert received(receiver, [1]) == [(1, version, float(version))]
        assert receiver.poll([1]) == []


def test_a_receiver_that_starts_over_is_given_the_latest(network: Network, size: int) -> None:
    sender = network.transport(1)
    sender.send(Message(1, 1, vector(size, 1.0)), [0])
    assert received(network.transport(0), [1]) == [(1, 1, 1.0)]
    sender.send(Message(1, 2, vector(size, 2.0)), [0])
    assert received(network.transport(0), [1]) == [(1, 2, 2.0)]


def test_the_latest_message_can_be_read_without_receiving_it(network: Network, size: int) -> None:
    sender, receiver = network.transport(1), network.transport(0)
    for version in (1, 2):
        sender.send(Message(1, version, vector(size, version)), [0])
    latest = network.latest(1)
    assert latest is not None
    assert (latest.sender, latest.version) == (1, 2)
    assert torch.equal(latest.parameters, vector(size, 2))
    assert received(receiver, [1]) == [(1, 2, 2.0)]
    again = network.latest(1)
    assert again is not None
    assert again.version == 2
    assert network.latest(2) is None


def test_a_copy_of_the_latest_message_stays_when_more_are_sent(network: Network, size: int) -> None:
    sender = network.transport(1)
    sender.send(Message(1, 1, vector(size, 1.0)), [])
    latest = network.latest(1)
    for version in range(2, 9):
        sender.send(Message(1, version, vector(size, version)), [])
    assert latest is not None
    assert torch.equal(latest.parameters, vector(size, 1))


def test_learners_do_not_overwrite_each_other(network: Network, size: int) -> None:
    for version in range(1, 6):
        for sender in range(LEARNERS):
            sent = vector(size, 100 * sender + version)
            network.transport(sender).send(Message(sender, version, sent), [])
    for sender in range(LEARNERS):
        latest = network.latest(sender)
        assert latest is not None
        assert torch.equal(latest.parameters, vector(size, 100 * sender + 5))


def test_an_end_may_be_closed_twice_and_the_others_go_on(network: Network, size: int) -> None:
    leaving, staying = network.transport(0), network.transport(2)
    leaving.close()
    leaving.close()
    network.transport(1).send(Message(1, 1, vector(size, 1.0)), [0, 2])
    assert received(staying, [1]) == [(1, 1, 1.0)]
