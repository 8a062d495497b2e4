"""Gossip between nodes: the latest messages, sent in one call at a time per link.

Rules
    1. At most one call to each other node is in progress. When it has ended, the next call sends
       the latest messages. So a slow link skips messages, and a cut link delays no other link.
    2. A learner's message is sent to a node once, however many learners there receive it, and only
       if it is newer than what was sent there before.
    3. Each batch also carries progress and deaths. At least five batches are sent per second.
    4. Learners of a node to which a call failed, or which is silent, are down until its next batch.
    5. Received messages are checked and written to the mailboxes of their senders on this machine.
       A batch of an earlier incarnation of its sender is dropped.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

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
_RETRY_S = 0.5
"""Pause after a call that failed."""
_OPTIMIZER_STATE_EVERY_S = 10.0
_LEAST_SILENCE_S = 1.0
"""Shortest timeout: on a busy machine, batches may be this far apart."""

Dispatch = Callable[[int, MessageBatch], "Future[bool]"]
"""(node, batch) → future of the call; its result is whether the batch was received."""


@dataclass
class _Link:
    """State of the exchange with one other node."""

    received_at: float
    senders: tuple[int, ...] = ()
    """Ranks here whose messages learners there receive."""
    incarnation: int = 0
    call: "Future[bool] | None" = None
    called_at: float = -_RETRY_S
    has_failed: bool = False
    sent_versions: dict[int, int] = field(default_factory=dict)
    optimizer_sent_at: dict[int, float] = field(default_factory=dict)

    def open(self, now: float) -> None:
        """Reset the state: batches are sent to the other node from now on."""
        self.received_at, self.call, self.has_failed = now, None, False
        self.forget_sent()

    def forget_sent(self) -> None:
        """Forget what was sent, since the other node may have a new process that lacks it."""
        self.sent_versions.clear()
        self.optimizer_sent_at.clear()


class GossipRelay:
    """Exchanges one node's messages with all other nodes.

    `send_due` and `check_silence` are for one thread; another may call `receive`.

    Args:
        spec: spec of this node.
        topology: topology of all learners.
        mailboxes: of all learners, on this machine; `receive` fills those of other nodes' learners.
        counters: counters of all learners, on this machine.
        precision: precision of parameters between nodes.
        silence_s: timeout after which learners of a node that has sent nothing are down.
        dispatch: sends a batch.
        rendezvous: rendezvous of replicas; None for learners that gossip.

    Attributes:
        rejected: number of received messages that were invalid.
        known_progress: progress of this node's learners, by rank, as the other nodes know it.
    """

    def __init__(
        self,
        spec: NodeSpec,
        topology: Topology,
        *,
        mailboxes: SharedMailboxes,
        counters: SharedCounters,
        precision: MessagePrecision,
        silence_s: float,
        dispatch: Dispatch,
        rendezvous: ClusterRendezvous | None = None,
    ) -> None:
        self.rejected = self._reported = 0
        self.known_progress: dict[int, LearnerProgress] = {}
        self._spec, self._ranks = spec, spec.ranks
        self._mailboxes, self._counters = mailboxes, counters
        self._precision, self._dispatch = precision, dispatch
        self._rendezvous = rendezvous
        self._silence_s = max(silence_s, _LEAST_SILENCE_S)
        now = time.monotonic()
        # Also for nodes that may join: their batches may arrive before the driver's change.
        self._links = {other: _Link(now) for other in range(len(self._ranks))}
        self._open: tuple[int, ...] = ()
        self._lock = threading.Lock()
        self.set_topology(topology)

    def set_topology(self, topology: Topology) -> None:
        """Send to the nodes of this topology's learners from now on; any thread may call it."""
        ranks = [
            range(share.start, min(share.stop, topology.learners))
            for share in self._ranks
            if share.start < topology.learners
        ]
        senders = routes(self._spec.node, ranks, topology)
        for other in senders:
            if other not in self._open:
                self._links[other].open(time.monotonic())
            self._links[other].senders = senders[other]
        self._open = tuple(senders)

    def send_due(self) -> bool:
        """Send a batch over each idle link that is due; return whether any was sent."""
        now, has_sent = time.monotonic(), False
        for other in self._open:
            link = self._links[other]
            if link.call is not None:
                if not link.call.done():
                    continue
                is_received = link.call.exception() is None and link.call.result()
                link.call, link.has_failed = None, not is_received
                if link.has_failed:
                    link.forget_sent()
                    self._set_down(other)
            waited_s = now - link.called_at
            pause_s = _RETRY_S if link.has_failed else _HEARTBEAT_S
            if waited_s >= pause_s or (not link.has_failed and self._has_new_messages(link)):
                link.call, link.called_at = self._dispatch(other, self._batch(other, link)), now
                has_sent = True
        return has_sent

    def receive(self, batch: MessageBatch) -> None:
        """Process a batch from another node."""
        link = self._links[batch.node]
        with self._lock:
            if batch.incarnation < link.incarnation:
                return
            if 0 < link.incarnation < batch.incarnation:
                link.forget_sent()
            link.incarnation, link.received_at = batch.incarnation, time.monotonic()
            for rank, progress in batch.progress.items():
                self.record_progress(rank, progress)
                self._mailboxes.set_down(rank, rank in batch.down)
            for rank, progress in batch.known_progress.items():
                before = self.known_progress.get(rank, progress)
                self.known_progress[rank] = LearnerProgress(*map(max, before, progress))
            if self._rendezvous is not None and batch.addresses is not None:
                self._rendezvous.receive(batch.node, batch.addresses)
            for message in batch.messages:
                if message.sender in self._ranks[batch.node]:
                    self._write(message)

    def take_notices(self) -> list[str]:
        """Return notices since the last call, one line each."""
        rejected, self._reported = self.rejected - self._reported, self.rejected
        if not rejected:
            return []
        return [f"node {self._spec.node} rejected {rejected} messages that could not be mixed"]

    def has_received_all(self) -> bool:
        """Return whether every other node has sent a batch."""
        return all(self._links[other].incarnation for other in self._open)

    def check_silence(self) -> None:
        """Mark the learners of silent nodes as down."""
        now = time.monotonic()
        for other in self._open:
            if now - self._links[other].received_at > self._silence_s:
                self._set_down(other)

    def record_progress(self, rank: int, progress: LearnerProgress) -> None:
        """Record the progress of a learner of another node."""
        # Raise only: a restarted learner may report less than is known here.
        self._counters.raise_progress(rank, progress.agent_steps, progress.updates)
        self._counters.set(rank, LearnerCounter.READY, progress.ready)

    def progress(self, rank: int) -> LearnerProgress:
        """Return the progress of a learner, as known to this node."""
        return LearnerProgress(
            self._counters.get(rank, LearnerCounter.AGENT_STEPS),
            max(self._counters.get(rank, LearnerCounter.UPDATES), self._mailboxes.version(rank)),
            self._counters.get(rank, LearnerCounter.READY),
        )

    def _progress_of(self, node: int) -> dict[int, LearnerProgress]:
        """Return progress by rank of a node's learners that are or have been members."""
        ever = self._counters.learners_ever
        return {rank: self.progress(rank) for rank in self._ranks[node] if rank < ever}

    def _set_down(self, other: int) -> None:
        with self._lock:
            for rank in self._ranks[other]:
                self._mailboxes.set_down(rank, True)

    def _has_new_messages(self, link: _Link) -> bool:
        version, sent = self._mailboxes.version, link.sent_versions
        return any(version(rank) > sent.get(rank, 0) for rank in link.senders)

    def _batch(self, other: int, link: _Link) -> MessageBatch:
        messages = []
        for rank in link.senders:
            if self._mailboxes.version(rank) <= link.sent_versions.get(rank, 0):
                continue
            if (message := self._mailboxes.latest(rank)) is not None:
                packed = pack(message.parameters, self._precision)
                state = self._optimizer_state_if_due(rank, link)
                messages.append(WireMessage(rank, message.version, packed, state))
                link.sent_versions[rank] = message.version
        own = self._progress_of(self._spec.node)
        rendezvous = self._rendezvous
        return MessageBatch(
            node=self._spec.node,
            incarnation=self._spec.incarnation,
            progress=own,
            known_progress=self._progress_of(other),
            down=frozenset(rank for rank in own if self._mailboxes.is_down(rank)),
            messages=tuple(messages),
            addresses=None if rendezvous is None else rendezvous.local_addresses(),
        )

    def _optimizer_state_if_due(self, rank: int, link: _Link) -> NDArray[np.float32] | None:
        now = time.monotonic()
        if now - link.optimizer_sent_at.get(rank, -math.inf) < _OPTIMIZER_STATE_EVERY_S:
            return None
        link.optimizer_sent_at[rank] = now
        return np.array(self._counters.optimizer_states[rank].numpy())

    def _write(self, received: WireMessage) -> None:
        sender = received.sender
        if received.version <= self._mailboxes.version(sender):
            return
        parameters = unpack(received.parameters, self._precision)
        if parameters is None or defect(parameters, self._mailboxes.size) is not None:
            self.rejected += 1
            return
        self._mailboxes.write(Message(sender, received.version, parameters))
        if received.optimizer_state is not None:
            state, row = unpack(received.optimizer_state), self._counters.optimizer_states[sender]
            if state is not None and defect(state, row.numel()) is None:
                row.copy_(state)


def routes(node: int, ranks: Sequence[range], topology: Topology) -> Mapping[int, tuple[int, ...]]:
    """Return, per other node, the ranks of this node whose messages are received there."""
    own = ranks[node] if node < len(ranks) else range(0)
    senders = [
        {sender for receiver in share for sender in topology.all_in_neighbours(receiver)}
        for share in ranks
    ]
    return {
        other: tuple(sender for sender in own if sender in senders[other])
        for other in range(len(ranks))
        if other != node
    }
