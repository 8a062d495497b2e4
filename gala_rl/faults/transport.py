"""Transport that drops, delays, duplicates or corrupts the messages to one receiver."""

from collections import Counter
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from gala_rl.faults.clock import FaultClock
from gala_rl.faults.plan import Corruption, Fault
from gala_rl.gossip.message import Event, Message, PeerDown
from gala_rl.gossip.transports import Transport

_EXPONENT_BIT = 1 << 30
"""Highest exponent bit of a float32: numbers from 2^-67 to 2 become too large to be squared."""


class FaultyTransport:
    """Injects faults into the messages that a learner receives; see `Transport`.

    Args:
        inner: the transport that it wraps.
        rank: rank of the receiver.
        faults: faults of messages.
        clock: clock of the run.

    Attributes:
        updates: updates made by the learner before the current one.
        messages: number of affected messages per fault, by its index; "cut" is not counted.
    """

    def __init__(
        self, inner: Transport, rank: int, faults: Sequence[Fault], clock: FaultClock
    ) -> None:
        self.updates = 0
        self.messages: Counter[int] = Counter()
        self._inner, self._rank, self._faults, self._clock = inner, rank, faults, clock
        self._in_flight: dict[int, list[tuple[float, Message]]] = {}
        self._delivered_version: dict[int, int] = {}

    def outbox(self) -> Tensor | None:
        """See `Transport.outbox`."""
        return self._inner.outbox()

    def send(self, message: Message, receivers: Collection[int]) -> Message:
        """See `Transport.send`; faults affect what is received."""
        return self._inner.send(message, receivers)

    def poll(self, senders: Collection[int]) -> list[Event]:
        """See `Transport.poll`; a cut edge delivers neither messages nor the sender's death."""
        now_s = self._clock.elapsed_s()
        active = {sender: self._active_faults(sender, now_s) for sender in senders}
        connected = [s for s in senders if all(fault.kind != "cut" for fault in active[s])]
        events: list[Event] = []
        for event in self._inner.poll(connected):
            if isinstance(event, PeerDown):
                self._in_flight.pop(event.learner, None)
                events.append(event)
            else:
                self._enqueue(event, active[event.sender], now_s)
        for sender in connected:
            events += self._arrivals(sender, now_s)
        return events

    def close(self) -> None:
        """See `Transport.close`."""
        self._inner.close()

    def _active_faults(self, sender: int, now_s: float) -> list[Fault]:
        edge = sender, self._rank
        return [f for f in self._faults if edge in f.edges and f.is_active(self.updates, now_s)]

    def _enqueue(self, message: Message, faults: Sequence[Fault], now_s: float) -> None:
        """Apply faults to a message and put it in flight."""
        due_s, copies, original = now_s, 1, message
        for fault in faults:
            match fault.kind:
                case "corrupt":
                    message = corrupted(message, fault.how)
                case "duplicate":
                    copies += 1
                case "delay":
                    due_s += fault.delay_s
        if due_s > now_s and message is original:
            # Copy: the sender may overwrite its memory before the message is due.
            message = Message(message.sender, message.version, message.parameters.clone())
        # The sender may have overwritten the message while it was copied.
        if message is original or original.is_whole():
            self.messages.update(fault.index for fault in faults)
            queue = self._in_flight.setdefault(message.sender, [])
            queue += [(due_s, message)] * copies

    def _arrivals(self, sender: int, now_s: float) -> list[Message]:
        """Return the newest message that is due; older ones are dropped."""
        queue = self._in_flight.get(sender)
        if not queue:
            return []
        delivered = self._delivered_version.get(sender, 0)
        newest = max((m.version for due_s, m in queue if due_s <= now_s), default=delivered)
        self._in_flight[sender] = [(due_s, m) for due_s, m in queue if m.version > newest]
        if newest <= delivered:
            return []
        self._delivered_version[sender] = newest
        return [message for _, message in queue if message.version == newest]


def corrupted(message: Message, how: Corruption) -> Message:
    """Return a copy of a message with corrupt parameters.

    Args:
        message: message as it was sent.
        how: "nan": one number becomes NaN; "size": the last number is missing; "bits": the highest
            exponent bit of every number is flipped.
    """
    parameters = message.parameters.clone()
    match how:
        case "nan":
            parameters[message.version % len(parameters)] = torch.nan
        case "size":
            parameters = parameters[:-1]
        case "bits":
            parameters.view(torch.int32).bitwise_xor_(_EXPONENT_BIT)
    return Message(message.sender, message.version, parameters)
