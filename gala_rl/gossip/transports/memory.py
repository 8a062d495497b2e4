"""Transport between learners in one process, with simulated delays and losses of messages."""

from collections.abc import Callable, Collection

from gala_rl.gossip.message import Event, Message, PeerDown

DelayModel = Callable[[int, int, int], int | None]
"""(sender, receiver, version) → number of the receiver's polls by which a message is delayed, or
None if it is lost."""


def no_delay(sender: int, receiver: int, version: int) -> int:
    """Deliver every message at the receiver's next poll."""
    return 0


class MemoryNetwork:
    """Deterministic network of learners that take turns in one process.

    Args:
        learners: number of learners.
        delay: delay or loss per message; differing delays reorder messages.
    """

    def __init__(self, learners: int, delay: DelayModel = no_delay) -> None:
        self._delay = delay
        self._latest: list[Message | None] = [None] * learners
        self._due: list[dict[int, list[tuple[int, Message]]]] = [{} for _ in range(learners)]
        self._down: set[int] = set()

    def transport(self, rank: int) -> "MemoryTransport":
        """Return the transport of learner `rank`."""
        return MemoryTransport(self, rank)

    def latest(self, learner: int) -> Message | None:
        """Return the last message that a learner sent, delivered or not."""
        return self._latest[learner]

    def kill(self, learner: int) -> None:
        """Report a learner as dead to all others, until it sends again."""
        self._down.add(learner)

    def is_down(self, learner: int) -> bool:
        """Return whether a learner was killed and has not sent since."""
        return learner in self._down

    def put(self, message: Message) -> None:
        """Publish a message to every learner that polls its sender, as in shared memory."""
        self._down.discard(message.sender)
        self._latest[message.sender] = message
        for receiver in range(len(self._due)):
            delay = self._delay(message.sender, receiver, message.version)
            if delay is not None:
                queue = self._due[receiver].setdefault(message.sender, [])
                queue.append((delay, message))

    def take(self, receiver: int, sender: int) -> Message | None:
        """Return the newest message that is due, None if there is none; drop all older ones."""
        queue = self._due[receiver].get(sender, [])
        due = [message for delay, message in queue if delay <= 0]
        newest = max(due, key=lambda message: message.version, default=None)
        self._due[receiver][sender] = [
            (delay - 1, message)
            for delay, message in queue
            if delay > 0 and (newest is None or message.version > newest.version)
        ]
        return newest


class MemoryTransport:
    """The transport of one learner of a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, rank: int) -> None:
        self._network = network
        self._rank = rank
        self._seen_version: dict[int, int] = {}
        self._reported_down: set[int] = set()

    def outbox(self) -> None:
        """Return None: each message has memory of its own."""

    def send(self, message: Message, receivers: Collection[int]) -> Message:
        """See `Transport.send`."""
        copy = Message(message.sender, message.version, message.parameters.detach().clone().cpu())
        self._network.put(copy)
        return copy

    def poll(self, senders: Collection[int]) -> list[Event]:
        """See `Transport.poll`."""
        events: list[Event] = []
        for sender in senders:
            if self._network.is_down(sender):
                if sender not in self._reported_down:
                    self._reported_down.add(sender)
                    events.append(PeerDown(sender))
                continue
            self._reported_down.discard(sender)
            message = self._network.take(self._rank, sender)
            if message is not None and message.version > self._seen_version.get(sender, 0):
                self._seen_version[sender] = message.version
                events.append(message)
        return events

    def close(self) -> None:
        """See `Transport.close`; there is nothing to release."""
