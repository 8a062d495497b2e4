"""The only I/O of gossip: moving the latest message of a learner to those who ask for it."""

from collections.abc import Collection
from typing import Protocol

from torch import Tensor

from gala_rl.gossip.message import Event, Message


class Transport(Protocol):
    """One learner's end of a network. Every implementation passes the same contract tests.

    Delivery is latest-wins: a message not yet polled is replaced by the sender's next one.
    Messages of one sender are delivered with growing versions. A delivered message is whole, and
    stays so at least until its sender has sent two more and begins a third; `Message.is_whole`
    tells.
    """

    def outbox(self) -> Tensor | None:
        """[P] memory to write the next message into, so that sending it needs no copy.

        None where a network has no such place. The message before stays available meanwhile.
        """

    def send(self, message: Message, receivers: Collection[int]) -> Message:
        """Make a message available to the receivers and return it, as they see it, at once.

        It is copied, unless it lies in the outbox. What is returned stays as it is until this end
        sends again.
        """

    def poll(self, senders: Collection[int]) -> list[Event]:
        """What is new from these senders: at most one message each, and notices of their death."""

    def close(self) -> None:
        """Let go of the network; may be called twice."""
