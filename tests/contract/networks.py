"""Networks that keep the contract of transports, as its tests build them."""

from typing import Protocol

import torch

from gala_rl.faults.clock import FaultClock
from gala_rl.faults.transport import FaultyTransport
from gala_rl.gossip import MemoryNetwork, Message, SharedMailboxes
from gala_rl.gossip.transports import Transport

LEARNERS = 4
SIZES = (1, 2, 7, 1000)


class Network(Protocol):
    """What the contract needs of a network, besides its transports."""

    def transport(self, rank: int) -> Transport: ...
    def latest(self, learner: int) -> Message | None: ...
    def is_down(self, learner: int) -> bool: ...


class SupervisedMailboxes(SharedMailboxes):
    """Shared mailboxes with the supervisor's part under the names that the memory network has."""

    def kill(self, learner: int) -> None:
        self.set_down(learner, True)


class FaultlessNetwork(MemoryNetwork):
    """Its ends are behind the transport of faults, none of which is planned."""

    def transport(self, rank: int) -> Transport:  # type: ignore[override]
        return FaultyTransport(super().transport(rank), rank, (), FaultClock(LEARNERS))


class FaultlessMailboxes(SupervisedMailboxes):
    """The same in shared memory."""

    def transport(self, rank: int) -> Transport:  # type: ignore[override]
        return FaultyTransport(super().transport(rank), rank, (), FaultClock(LEARNERS))


def make_network(kind: str, size: int) -> MemoryNetwork | SupervisedMailboxes:
    match kind:
        case "memory":
            return MemoryNetwork(LEARNERS)
        case "shared":
            return SupervisedMailboxes(LEARNERS, size)
        case "faultless-memory":
            return FaultlessNetwork(LEARNERS)
        case _:
            return FaultlessMailboxes(LEARNERS, size)


def vector(size: int, start: float) -> torch.Tensor:
    return torch.arange(size) + torch.tensor(start)


def revive(network: MemoryNetwork | SupervisedMailboxes, learner: int) -> None:
    """What follows a learner's first message after its death."""
    if isinstance(network, SupervisedMailboxes):
        network.set_down(learner, False)


def received(transport: Transport, senders: list[int]) -> list[tuple[int, int, float]]:
    """Sender, version and first number of what a poll returns, which must be messages."""
    events = transport.poll(senders)
    assert all(isinstance(event, Message) for event in events)
    return [
        (event.sender, event.version, event.parameters[0].item())
        for event in events
        if isinstance(event, Message)
    ]
