"""Messages and events that a transport delivers: parameters, and notices of dead learners."""

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
        version: number of updates that the sender had made; strictly increasing.
        parameters: [P] float32 on the CPU. A delivered message may be the sender's own memory:
            receivers must not write to it, and the sender may overwrite it after two further
            messages.
        is_whole: returns whether `parameters` are still the complete message; a receiver calls it
            after it has read them.
    """

    sender: int
    version: int
    parameters: Tensor
    is_whole: Callable[[], bool] = field(default=_always, compare=False)


@dataclass(frozen=True)
class PeerDown:
    """Notice that a learner is dead; its next message is the notice that it has returned."""

    learner: int


Event = Message | PeerDown
