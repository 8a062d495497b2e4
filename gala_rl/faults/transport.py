"""A transport on which messages to one receiver are cut off, late, doubled or corrupt."""

from collections import Counter
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from gala_rl.faults.clock import FaultClock
from gala_rl.faults.plan import Fault
from gala_rl.gossip.message import Event, Message, PeerDown
from gala_rl.gossip.transports import Transport

_EXPONENT_BIT = 1 << 30
"""The highest of a float32's exponent: what was from 2^-67 to 2 becomes too large to be squared."""


class FaultyTransport:
    """One learner's end of a network, behind which messages suffer faults; see `Transport`.

    Args:
        inner: the end itself.
        rank: of its learner, the receiver.
        faults: of messages.
        clock: of the run.

    Attributes:
        updates: that the learner has made, before the one it is in.
        messages: to which faults have happened, by the fault's index; those cut off are not seen.
    """

    def __init__(
        self, inner: Transport, rank: int, faults: Sequence[Fault], clock: FaultClock
    ) -> None:
        self.updates = 0
        self.messages: Counter[int] = Counter()
        self._inner, self._rank, self._faults, self._clock = inner, rank, faults, clock
        self._under_way: dict[int, list[tuple[float, Message]]] = {}
        self._delivered_version: dict[int, int] = {}

    def outbox(self) -> Tensor | None:
        """See `Transport.outbox`."""
        return self._inner.outbox()

    def send(self, message: Message, receivers: Collection[int]) -> Message:
        """See `Transport.send`: faults happen to what is received."""
        return self._inner.send(message, receivers)

    def poll(self, senders: Collection[int]) -> list[Event]:
        """See `Transport.poll`; a sender that is cut off is not heard, nor is its death."""
        now_s = self._clock.elapsed_s()
        present = {sender: self._present(sender, now_s) for sender in senders}
        heard = [s for s in senders if all(fault.kind != "cut" for fault in present[s])]
        events: list[Event] = []
        for event in self._inner.poll(heard):
            if isinstance(event, PeerDown):
                self._under_way.pop(event.learner, None)
                events.append(event)
            else:
                self._dispatch(event, present[event.sender], now_s)
        for sender in heard:
            events += self._arrivals(sender, now_s)
        return events

    def close(self) -> None:
        """See `Transport.close`."""
        self._inner.close()

    def _present(self, sender: int, now_s: float) -> list[Fault]:
        """What happens now to messages of a sender."""
        edge = sender, self._rank
        return [f for f in self._faults if edge in f.edges and f.is_on(self.updates, now_s)]

    def _dispatch(self, message: Message, faults: Sequence[Fault], now_s: float) -> None:
        """Put a message on its way, once or more often."""
        due_s, times, original = now_s, 1, message
        for fault in faults:
            match fault.kind:
                case "corrupt":
                    message = corrupted(message, fault.how)
                case "duplicate":
                    times += 1
                case "delay":
                    due_s += fault.delay_s
        if due_s > now_s and message is original:
            # What was lent will be overwritten before it is due.
            message = Message(message.sender, message.version, message.parameters.clone())
        # A copy that the sender has spoilt meanwhile is as good as none.
        if message is original or original.is_whole():
            self.messages.update(fault.index for fault in faults)
            queue = self._under_way.setdefault(message.sender, [])
            queue += [(due_s, message)] * times

    def _arrivals(self, sender: int, now_s: float) -> list[Message]:
        """The newest message that is due; what it has overtaken is dropped."""
        queue = self._under_way.get(sender)
        if not queue:
            return []
        seen = self._delivered_version.get(sender, 0)
        newest = max((m.version for due_s, m in queue if due_s <= now_s), default=seen)
        self._under_way[sender] = [(due_s, m) for due_s, m in queue if m.version > newest]
        if newest <= seen:
            return []
        self._delivered_version[sender] = newest
        return [message for _, message in queue if message.version == newest]


def corrupted(message: Message, how: str) -> Message:
    """A message whose parameters are not those that were sent.

    Args:
        message: as it was sent.
        how: "nan": one number is none; "size": the last is missing; "bits": the highest bit of
            the exponent of all of them is another.
    """
    parameters = message.parameters.clone()
    match how:
        case "nan":
            parameters[message.version % len(parameters)] = torch.nan
        case "size":
            parameters = parameters[:-1]
        case "bits":
            parameters.view(torch.int32).bitwise_xor_(_EXPONENT_BIT)
        case _:
            raise ValueError(f"no way to corrupt a message: {how!r}")
    return Message(message.sender, message.version, parameters)
