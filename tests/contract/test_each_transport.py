"""Guarantees of single transports: sizes of mailboxes, delays of the memory network."""

import psutil
import pytest
import torch

from gala_rl.gossip import MemoryNetwork, Message, SharedMailboxes
from gala_rl.gossip.transports.memory import no_delay
from gala_rl.gossip.transports.shared import shared_zeros
from tests.contract.networks import received, vector

# What only one of them promises.


def test_shared_mailboxes_know_their_dimensions() -> None:
    mailboxes = SharedMailboxes(3, 5)
    assert (mailboxes.learners, mailboxes.size) == (3, 5)


@pytest.mark.parametrize("shape", [(4,), (6,), (0,), (5, 1), (1, 5)])
def test_shared_mailboxes_refuse_another_size(shape: tuple[int, ...]) -> None:
    mailboxes = SharedMailboxes(2, 5)
    with pytest.raises(ValueError, match=r"expected \[5\] parameters"):
        mailboxes.transport(1).send(Message(1, 1, torch.zeros(shape)), [0])
    assert mailboxes.transport(0).poll([1]) == []


def test_a_learner_cannot_send_for_another_through_shared_mailboxes() -> None:
    with pytest.raises(ValueError, match="learner 0 cannot send for learner 1"):
        SharedMailboxes(2, 5).transport(0).send(Message(1, 1, torch.zeros(5)), [0])


def test_a_closed_end_of_shared_mailboxes_is_of_no_use() -> None:
    transport = SharedMailboxes(2, 5).transport(0)
    transport.close()
    with pytest.raises(ValueError, match="the transport is closed"):
        transport.poll([1])


def test_shared_mailboxes_tell_the_version_of_the_latest_message() -> None:
    mailboxes = SharedMailboxes(2, 5)
    assert mailboxes.version(1) == 0
    for version in (1, 2, 3, 4, 11):
        mailboxes.write(Message(1, version, torch.zeros(5)))
        assert (mailboxes.version(0), mailboxes.version(1)) == (0, version)


def test_the_memory_network_delivers_to_every_learner_that_polls_as_shared_memory_does() -> None:
    network = MemoryNetwork(3)
    network.transport(1).send(Message(1, 1, torch.zeros(2)), [0])
    assert len(network.transport(2).poll([1])) == 1
    assert len(network.transport(0).poll([1])) == 1


def test_a_scripted_delay_is_counted_in_polls_of_the_receiver() -> None:
    network = MemoryNetwork(2, delay=lambda sender, receiver, version: 2)
    network.transport(1).send(Message(1, 1, torch.zeros(2)), [0])
    receiver = network.transport(0)
    assert [len(receiver.poll([1])) for _ in range(4)] == [0, 0, 1, 0]


def test_a_scripted_loss_hits_one_receiver_and_not_the_other() -> None:
    network = MemoryNetwork(3, delay=lambda sender, receiver, version: receiver or None)
    network.transport(1).send(Message(1, 1, torch.zeros(2)), [0, 2])
    lossy, slow = network.transport(0), network.transport(2)
    assert [len(lossy.poll([1])) for _ in range(5)] == [0] * 5
    assert [len(slow.poll([1])) for _ in range(5)] == [0, 0, 1, 0, 0]


def test_an_overtaken_message_is_never_delivered() -> None:
    delays = {1: 3, 2: 0, 3: 1}
    network = MemoryNetwork(2, delay=lambda sender, receiver, version: delays[version])
    sender, receiver = network.transport(1), network.transport(0)
    for version in delays:
        sender.send(Message(1, version, vector(2, version)), [0])
    assert [received(receiver, [1]) for _ in range(5)] == [[(1, 2, 2.0)], [(1, 3, 3.0)], [], [], []]


def test_a_prompt_network_holds_nothing_back() -> None:
    assert {no_delay(sender, 0, version) for sender in range(3) for version in range(9)} == {0}


def test_unwritten_rows_take_no_memory() -> None:
    def shared_bytes() -> int:
        return int(psutil.Process().memory_info().shared)

    before, row_bytes = shared_bytes(), 4 * 1_000_000
    rows = shared_zeros((100, 1_000_000), torch.float32)
    assert rows[99, 0] == 0
    assert shared_bytes() - before < row_bytes / 2
    rows[50] = 1.0
    assert row_bytes / 2 < shared_bytes() - before < 2 * row_bytes
    assert rows[49, -1] == rows[51, 0] == 0
