"""Gossip between nodes: the latest messages carried out, one call at a time, and taken in.

Rules
    1. To each other node at most one call is under way. When it has ended, the next takes what is
       the latest then: a slow link skips messages, a cut one holds up nobody, nothing queues.
    2. A learner's message crosses once to a node, however many learners there hear it, and only if
       it is newer than what was sent there before.
    3. A parcel carries counters and deaths too, and goes out every fifth of a second at least.
    4. Whoever is behind a call that failed, or has been silent, is down until its next parcel.
    5. What comes in is checked, and written where a learner of this machine would write it; a
       parcel of an earlier incarnation of its sender is dropped.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gala_rl.cluster.protocol import (
    LearnerProgress,
    MessageBatch,
    MessagePrecision,
    NodeSpec,
    WireMessage,
    pack,
    unpack,
)
from gala_rl.cluster.rendezvous import ClusterRendezvous
from gala_rl.gossip import Message, SharedMailboxes
from gala_rl.gossip.mixing import defect
from gala_rl.gossip.topology import Topology
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_HEARTBEAT_S = 0.2
_PAUSE_S = 0.5
"""After a call that failed."""
_STATE_EVERY_S = 10.0
_LEAST_SILENCE_S = 1.0
"""Two parcels may be so far apart on a busy machine; less is no sign of death."""


class RemoteCall(Protocol):
    """A call to another node that is under way."""

    def outcome(self) -> bool | None:
        """Whether the parcel was taken in; None while the call is under way."""


class RayRemoteCall:
    """A call to another node's actor; see `RemoteCall`."""

    def __init__(self, reference: Any) -> None:
        self._future: Future[bool] = reference.future()

    def outcome(self) -> bool | None:
        """See `RemoteCall`."""
        if not self._future.done():
            return None
        return self._future.exception() is None and self._future.result()


Dispatch = Callable[[int, MessageBatch], RemoteCall]
"""(node, parcel) → the call that delivers it."""


@dataclass
class _Link:
    """The way to one other node, and what has come from there."""

    heard_at: float
    heard: tuple[int, ...] = ()
    incarnation: int = 0
    call: RemoteCall | None = None
    sent_at: float = -_PAUSE_S
    paused: bool = False
    sent: dict[int, int] = field(default_factory=dict)
    state_sent_at: dict[int, float] = field(default_factory=dict)

    def begin(self, now: float) -> None:
        """There is another node behind it, which has been sent nothing."""
        self.heard_at, self.call, self.paused = now, None, False
        self.forget()

    def forget(self) -> None:
        """Whoever is there now has none of what was sent before."""
        self.sent.clear()
        self.state_sent_at.clear()


class GossipRelay:
    """One node's end of the wires to all others.

    `carry` and `mind_silence` are for one thread, `take` may be called from another.

    Args:
        orders: which node this is, and which learners are where.
        topology: of all learners.
        mailboxes: of all learners, on this machine; rows of other nodes' learners are written here.
        board: of all learners, on this machine; likewise.
        packing: of the parameters that cross.
        silence_s: learners of a node from which nothing has come for so long are down.
        dispatch: sends a parcel.
        introductions: of learners that are replicas; None if they gossip.

    Attributes:
        rejected: letters that were not fit to be mixed.
        known: how far the others know this node's learners to be, by rank.
    """

    def __init__(
        self,
        orders: NodeSpec,
        topology: Topology,
        *,
        mailboxes: SharedMailboxes,
        board: SharedCounters,
        packing: MessagePrecision,
        silence_s: float,
        dispatch: Dispatch,
        introductions: ClusterRendezvous | None = None,
    ) -> None:
        self.rejected = self._told = 0
        self.known: dict[int, LearnerProgress] = {}
        self._orders, self._ranks = orders, orders.ranks
        self._mailboxes, self._board = mailboxes, board
        self._packing, self._dispatch = packing, dispatch
        self._introductions = introductions
        self._silence_s = max(silence_s, _LEAST_SILENCE_S)
        now = time.monotonic()
        # Also of nodes that there can be: what comes from one may be faster than the news of it.
        self._lines = {other: _Link(now) for other in range(len(self._ranks))}
        self._open: tuple[int, ...] = ()
        self._lock = threading.Lock()
        self.go_by(topology)

    def go_by(self, topology: Topology) -> None:
        """Send to the nodes of that many learners from now on; any thread may call it."""
        ranks = [
            range(share.start, min(share.stop, topology.learners))
            for share in self._ranks
            if share.start < topology.learners
        ]
        heard = routes(self._orders.node, ranks, topology)
        for other in heard:
            if other not in self._open:
                self._lines[other].begin(time.monotonic())
            self._lines[other].heard = heard[other]
        self._open = tuple(heard)

    def carry(self) -> bool:
        """Send what is due to whom no call is under way; returns whether anything was sent."""
        now, sent = time.monotonic(), False
        for other in self._open:
            line = self._lines[other]
            if line.call is not None:
                outcome = line.call.outcome()
                if outcome is None:
                    continue
                line.call, line.paused = None, not outcome
                if not outcome:
                    line.forget()
                    self._set_down(other)
            waited = now - line.sent_at
            pause = _PAUSE_S if line.paused else _HEARTBEAT_S
            if waited >= pause or (not line.paused and self._has_news(line)):
                line.call, line.sent_at = self._dispatch(other, self._parcel(other, line)), now
                sent = True
        return sent

    def take(self, parcel: MessageBatch) -> None:
        """Take in what another node has sent."""
        line = self._lines[parcel.node]
        with self._lock:
            if parcel.incarnation < line.incarnation:
                return
            if 0 < line.incarnation < parcel.incarnation:
                line.forget()
            line.incarnation, line.heard_at = parcel.incarnation, time.monotonic()
            for rank, counters in parcel.counters.items():
                self.count(rank, counters)
                self._mailboxes.set_down(rank, rank in parcel.down)
            for rank, counters in parcel.known.items():
                before = self.known.get(rank, counters)
                self.known[rank] = LearnerProgress(*map(max, before, counters))
            if self._introductions is not None and parcel.introduction is not None:
                self._introductions.take(parcel.node, parcel.introduction)
            for letter in parcel.letters:
                if letter.sender in self._ranks[parcel.node]:
                    self._deliver(letter)

    def take_notices(self) -> list[str]:
        """What there is to tell since the last call, a line each."""
        refused, self._told = self.rejected - self._told, self.rejected
        if not refused:
            return []
        return [f"node {self._orders.node} refused {refused} messages that could not be mixed"]

    def has_heard_all(self) -> bool:
        """Whether something has come from every other node."""
        return all(self._lines[other].incarnation for other in self._open)

    def mind_silence(self) -> None:
        """Set down the learners of nodes that have been silent for too long."""
        now = time.monotonic()
        for other in self._open:
            if now - self._lines[other].heard_at > self._silence_s:
                self._set_down(other)

    def _set_down(self, other: int) -> None:
        with self._lock:
            for rank in self._ranks[other]:
                self._mailboxes.set_down(rank, True)

    def count(self, rank: int, counters: LearnerProgress) -> None:
        """Know that a learner elsewhere is so far."""
        # A learner that was started again may have been told less than was known here.
        for cell, value in zip(
            (LearnerCounter.AGENT_STEPS, LearnerCounter.UPDATES), counters[:2], strict=True
        ):
            self._board.set(rank, cell, max(value, self._board.get(rank, cell)))
        self._board.set(rank, LearnerCounter.READY, counters.ready)

    def _has_news(self, line: _Link) -> bool:
        return any(self._mailboxes.version(rank) > line.sent.get(rank, 0) for rank in line.heard)

    def _parcel(self, other: int, line: _Link) -> MessageBatch:
        letters = []
        for rank in line.heard:
            if self._mailboxes.version(rank) <= line.sent.get(rank, 0):
                continue
            message = self._mailboxes.latest(rank)
            if message is not None:
                packed = pack(message.parameters, self._packing)
                state = self._state_if_due(rank, line)
                letters.append(WireMessage(rank, message.version, packed, state))
                line.sent[rank] = message.version
        own = self.known_of(self._orders.node)
        return MessageBatch(
            node=self._orders.node,
            incarnation=self._orders.incarnation,
            counters=own,
            known=self.known_of(other),
            down=frozenset(rank for rank in own if self._mailboxes.is_down(rank)),
            letters=tuple(letters),
            introduction=None if self._introductions is None else self._introductions.make(),
        )

    def known_of(self, node: int) -> dict[int, LearnerProgress]:
        """How far those learners of a node are that are members or have been, by rank."""
        share, ever = self._ranks[node], self._board.learners_ever
        return {rank: self.counters(rank) for rank in share if rank < ever}

    def _state_if_due(self, rank: int, line: _Link) -> NDArray[np.float32] | None:
        now = time.monotonic()
        if now - line.state_sent_at.get(rank, -math.inf) < _STATE_EVERY_S:
            return None
        line.state_sent_at[rank] = now
        return np.array(self._board.optimizer_states[rank].numpy())

    def counters(self, rank: int) -> LearnerProgress:
        """How far a learner is, as is known here."""
        return LearnerProgress(
            self._board.get(rank, LearnerCounter.AGENT_STEPS),
            max(self._board.get(rank, LearnerCounter.UPDATES), self._mailboxes.version(rank)),
            self._board.get(rank, LearnerCounter.READY),
        )

    def _deliver(self, letter: WireMessage) -> None:
        if letter.version <= self._mailboxes.version(letter.sender):
            return
        parameters = unpack(letter.parameters, self._packing)
        if parameters is None or defect(parameters, self._mailboxes.size) is not None:
            self.rejected += 1
            return
        self._mailboxes.write(Message(letter.sender, letter.version, parameters))
        if letter.optimizer_state is not None:
            state, row = unpack(letter.optimizer_state), self._board.optimizer_states[letter.sender]
            if state is not None and defect(state, row.numel()) is None:
                row.copy_(state)


def routes(node: int, ranks: Sequence[range], topology: Topology) -> Mapping[int, tuple[int, ...]]:
    """For each other node, which learners of this one, which may have none, are heard there."""
    own = ranks[node] if node < len(ranks) else range(0)
    heard = [
        {sender for receiver in share for sender in topology.all_in_neighbours(receiver)}
        for share in ranks
    ]
    return {
        other: tuple(sender for sender in own if sender in heard[other])
        for other in range(len(ranks))
        if other != node
    }
