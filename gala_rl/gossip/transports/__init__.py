"""Transport interface, the only I/O of gossip: deliver the latest message of each learner."""

from collections.abc import Collection
from typing import Protocol

from torch import Tensor

from gala_rl.gossip.message import Event, Message


class Transport(Protocol):
    """Sends and receives one learner's messages; `tests/contract` tests every implementation.

    The latest message wins: one that was not polled is replaced by its sender's next one. Versions
    of one sender's delivered messages increase. A delivered message is complete, and remains so at
    least until its sender has sent two more and begins a third; see `Message.is_whole`.
    """

    def outbox(self) -> Tensor | None:
        """Return memory [P] for the next message, so that sending needs no copy.

        None if the network has no such memory. The previous message stays available meanwhile.
        """

    def send(self, message: Message, receivers: Collection[int]) -> Message:
        """Make a message available to the receivers without waiting, and return it as they see it.

        It is copied unless its parameters are the outbox. The returned message stays valid until
        this end sends again.
        """

    def poll(self, senders: Collection[int]) -> list[Event]:
        """Return new events of these senders: per sender a message or a notice of its death."""

    def close(self) -> None:
        """Release the network; a second call does nothing."""
