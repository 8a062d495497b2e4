"""Faults of messages in transit, checked by what gossip receives, mixes and rejects."""

import torch

from gala_rl.faults.clock import FaultClock
from gala_rl.faults.plan import CORRUPTIONS, Fault
from gala_rl.faults.transport import FaultyTransport, corrupted
from gala_rl.gossip import Gossip, MemoryNetwork, Message, PeerDown, directed_ring
from gala_rl.gossip.mixing import defect

EDGE = frozenset({(1, 0)})


class Hands(FaultClock):
    """A clock that stands where a test puts it."""

    def __init__(self) -> None:
        super().__init__(2)
        self.now_s = 0.0

    def elapsed_s(self) -> float:
        return self.now_s


def ends(clock: FaultClock, *faults: Fault) -> tuple[FaultyTransport, MemoryNetwork]:
    network = MemoryNetwork(2)
    return FaultyTransport(network.transport(0), 0, faults, clock), network


def send(network: MemoryNetwork, version: int) -> None:
    network.transport(1).send(Message(1, version, torch.full((3,), float(version))), [0])


def versions(end: FaultyTransport) -> list[int]:
    events = end.poll([1])
    assert all(isinstance(event, Message) for event in events)
    return [event.version for event in events if isinstance(event, Message)]


def test_a_cut_hides_messages_and_deaths_until_it_heals() -> None:
    clock = Hands()
    end, network = ends(clock, Fault(index=0, kind="cut", edges=EDGE, at_s=1, seconds=2))
    send(network, 1)
    assert versions(end) == [1]
    clock.now_s = 1.0
    send(network, 2)
    assert versions(end) == []
    network.kill(1)
    assert end.poll([1]) == []
    clock.now_s = 3.0
    assert end.poll([1]) == [PeerDown(1)]
    send(network, 3)
    assert versions(end) == [3]


def test_a_cut_of_one_edge_leaves_others_alone() -> None:
    clock = Hands()
    network = MemoryNetwork(3)
    end = FaultyTransport(
        network.transport(0), 0, [Fault(index=0, kind="cut", edges=EDGE, at_s=0)], clock
    )
    for sender in (1, 2):
        network.transport(sender).send(Message(sender, 1, torch.zeros(2)), [0])
    assert [event.sender for event in end.poll([1, 2]) if isinstance(event, Message)] == [2]


def test_a_delay_only_delays_and_the_newest_that_is_due_wins() -> None:
    clock = Hands()
    fault = Fault(index=0, kind="delay", edges=EDGE, at_updates=0, updates=9, delay_s=1.0)
    end, network = ends(clock, fault)
    got = []
    for tick in range(12):
        clock.now_s = tick / 4
        send(network, tick + 1)
        got.append(versions(end))
    assert got == [[], [], [], [], *([tick - 3] for tick in range(4, 12))]
    assert end.messages[0] == 12


def test_what_is_late_is_not_overwritten_by_its_sender() -> None:
    clock = Hands()
    fault = Fault(index=0, kind="delay", edges=EDGE, at_updates=0, delay_s=1.0)
    end, network = ends(clock, fault)
    send(network, 1)
    assert versions(end) == []
    latest = network.latest(1)
    assert latest is not None
    latest.parameters.fill_(-1.0)
    clock.now_s = 1.0
    (event,) = end.poll([1])
    assert isinstance(event, Message)
    assert event.parameters.tolist() == [1.0, 1.0, 1.0]


def test_a_late_message_that_a_prompt_one_has_overtaken_is_never_delivered() -> None:
    clock = Hands()
    fault = Fault(index=0, kind="delay", edges=EDGE, at_updates=0, updates=1, delay_s=1.0)
    end, network = ends(clock, fault)
    send(network, 1)
    assert versions(end) == []
    end.updates = 1
    send(network, 2)
    assert versions(end) == [2]
    clock.now_s = 5.0
    assert versions(end) == []


def test_what_is_late_does_not_outlive_its_sender() -> None:
    clock = Hands()
    fault = Fault(index=0, kind="delay", edges=EDGE, at_updates=0, delay_s=1.0)
    end, network = ends(clock, fault)
    send(network, 1)
    assert versions(end) == []
    network.kill(1)
    assert end.poll([1]) == [PeerDown(1)]
    clock.now_s = 5.0
    assert end.poll([1]) == []


def exchange(fault: Fault, rounds: int) -> tuple[Gossip, FaultyTransport, torch.Tensor]:
    """Learner 0 of two gossips that many rounds, with faults on what it hears from learner 1."""
    end, network = ends(Hands(), fault)
    parameters = torch.full((8,), 0.5)
    gossip = Gossip(parameters, end, 0, directed_ring(2))
    for version in range(1, rounds + 1):
        end.updates = version - 1
        network.transport(1).send(Message(1, version, torch.full((8,), 1.5)), [0])
        gossip.exchange()
    return gossip, end, parameters


def test_a_duplicate_is_refused_as_not_newer_and_mixed_once() -> None:
    fault = Fault(index=0, kind="duplicate", edges=EDGE, at_updates=2, updates=3)
    gossip, end, parameters = exchange(fault, 10)
    assert gossip.node.rejected == {"not newer": 3}
    assert end.messages[0] == 3
    assert gossip.node.mixes == 10
    assert torch.equal(parameters, torch.full((8,), 1.5 - 2.0**-10))


def test_no_corrupt_message_is_mixed_and_every_one_is_counted() -> None:
    for how in CORRUPTIONS:
        fault = Fault(index=0, kind="corrupt", edges=EDGE, at_updates=4, updates=5, how=how)
        gossip, end, parameters = exchange(fault, 12)
        assert gossip.node.rejected.total() == end.messages[0] == 5
        assert gossip.node.mixes == 7
        assert torch.equal(parameters, torch.full((8,), 1.5 - 2.0**-7)), how


def test_corruption_leaves_the_sender_and_others_alone() -> None:
    for how in CORRUPTIONS:
        sent = Message(1, 3, torch.tensor([0.25, -1.0, 1.5]))
        assert defect(corrupted(sent, how).parameters, 3) is not None
        assert sent.parameters.tolist() == [0.25, -1.0, 1.5]
