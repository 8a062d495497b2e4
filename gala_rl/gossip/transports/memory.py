"""Transport between learners that take turns in one process; delays and losses can be scripted."""

from collections.abc import Callable, Collection

from gala_rl.gossip.message import Event, Message, PeerDown

Fate = Callable[[int, int, int], int | None]
"""(sender, receiver, version) → number of the receiver's polls to hold the message back, or None
to lose it."""


def prompt(sender: int, receiver: int, version: int) -> int:
    """The fate of every message on a perfect network: there at the next poll."""
    return 0


class MemoryNetwork:
    """All mailboxes of learners in one process: deterministic, no copies shared, no waiting.

    Args:
        learners: number of learners.
        fate: what happens to each message; differing delays reorder messages.
    """

    def __init__(self, learners: int, fate: Fate = prompt) -> None:
        self._fate = fate
        self._latest: list[Message | None] = [None] * learners
        self._due: list[dict[int, list[tuple[int, Message]]]] = [{} for _ in range(learners)]
        self._down: set[int] = set()

    def transport(self, rank: int) -> "MemoryTransport":
        """The end of learner `rank`."""
        return MemoryTransport(self, rank)

    def latest(self, learner: int) -> Message | None:
        """The last message a learner sent, delivered or not."""
        return self._latest[learner]

    def kill(self, learner: int) -> None:
        """Announce a learner's death to all others."""
        self._down.add(learner)

    def is_down(self, learner: int) -> bool:
        """Whether the learner was killed and has not sent since."""
        return learner in self._down

    def put(self, message: Message) -> None:
        """Take over a message: whoever polls its sender gets it, as in shared memory."""
        self._down.discard(message.sender)
        self._latest[message.sender] = message
        for receiver in range(len(self._due)):
            delay = self._fate(message.sender, receiver, message.version)
            if delay is not None:
                queue = self._due[receiver].setdefault(message.sender, [])
                queue.append((delay, message))

    def take(self, receiver: int, sender: int) -> Message | None:
        """The newest message that is due, if any; everything older is dropped with it."""
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
    """One learner's end of a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, rank: int) -> None:
        self._network = network
        self._rank = rank
        self._seen_version: dict[int, int] = {}
        self._told_down: set[int] = set()

    def outbox(self) -> None:
        """See `Transport.outbox`: there is none, each message is memory of its own."""

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
                if sender not in self._told_down:
                    self._told_down.add(sender)
                    events.append(PeerDown(sender))
                continue
            self._told_down.discard(sender)
            message = self._network.take(self._rank, sender)
            if message is not None and message.version > self._seen_version.get(sender, 0):
                self._seen_version[sender] = message.version
                events.append(message)
        return events

    def close(self) -> None:
        """Nothing to let go of."""
