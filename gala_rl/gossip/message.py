"""What crosses a transport, in either direction."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Message:
    """One learner's parameters after one of its updates.

    Attributes:
        sender: rank of the learner.
        version: number of updates the sender had made; grows by at least one a message.
        parameters: [P] float32 on the CPU. What a transport delivers is lent, not given: it may be
            read but not written, and its sender may overwrite it after two further messages.
        is_whole: whether nothing of `parameters` has been overwritten; whoever has used them asks
            afterwards.
    """

    sender: int
    version: int
    parameters: Tensor
    is_whole: Callable[[], bool] = field(default=_always, compare=False)


@dataclass(frozen=True)
class PeerDown:
    """A transport's notice that a learner is dead; its next message is the notice of its return."""

    learner: int


Event = Message | PeerDown
