"""What crosses a transport, in either direction."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Message:
    """One learner's parameters after one of its updates.

    Attributes:
        sender: rank of the learner.
        version: number of updates the sender had made; grows by at least one a message.
        parameters: [P] float32 on the CPU; valid until the sender's next but one is received.
    """

    sender: int
    version: int
    parameters: Tensor


@dataclass(frozen=True)
class PeerDown:
    """A transport's notice that a learner is dead; its next message is the notice of its return."""

    learner: int


Event = Message | PeerDown
