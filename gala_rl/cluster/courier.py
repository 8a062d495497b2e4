"""Gossip between nodes: the latest messages carried out, one call at a time each, and taken in.

A courier never waits. While a call to a node is under way nothing else is sent there; when it has
ended, the next takes whatever is the latest then. So a slow link skips messages, and a cut one
holds up nobody.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gala_rl.cluster.wire import Counters, Letter, Parcel, Precision, pack, unpack
from gala_rl.gossip import Message, SharedMailboxes
from gala_rl.gossip.mixing import defect
from gala_rl.gossip.topology import Topology
from gala_rl.systems.board import Board, Cell

_HEARTBEAT_S = 0.2
"""Counters go out so often even when no message does."""
_PAUSE_S = 0.5
"""After a call that failed."""


class Call(Protocol):
    """A call to another node that is under way."""

    def outcome(self) -> bool | None:
        """Whether it has succeeded; None while it is under way."""


Post = Callable[[int, Parcel], Call]
"""(node, parcel) → the call that delivers it."""


@dataclass
class _Line:
    """The way to one other node."""

    heard: tuple[int, ...]
    call: Call | None = None
    next_at: float = 0.0


class Courier:
    """One node's end of the wires to all others.

    Args:
        node: index of this one.
        ranks: of the learners of each node.
        topology: of all learners.
        mailboxes: of all learners, on this machine; rows of other nodes' learners are written here.
        board: of all learners, on this machine; likewise.
        precision: of the parameters that cross.
        silence_s: learners of a node from which nothing has come for so long are down.
        post: sends a parcel.

    Attributes:
        rejected: letters that were not fit to be mixed.
    """

    def __init__(
        self,
        node: int,
        ranks: Sequence[range],
        topology: Topology,
        *,
        mailboxes: SharedMailboxes,
        board: Board,
        precision: Precision,
        silence_s: float,
        post: Post,
    ) -> None:
        self.rejected = 0
        self._node, self._ranks = node, ranks
        self._mailboxes, self._board = mailboxes, board
        self._precision, self._silence_s, self._post = precision, silence_s, post
        self._lines = {
            other: _Line(heard) for other, heard in routes(node, ranks, topology).items()
        }
        self._sent: dict[tuple[int, int], int] = {}
        self._heard_at = dict.fromkeys(self._lines, time.monotonic())
        self._lock = threading.Lock()

    def carry(self) -> bool:
        """Send what is new to whom no call is under way; returns whether anything was sent."""
        now, sent = time.monotonic(), False
        for other, line in self._lines.items():
            if line.call is not None:
                outcome = line.call.outcome()
                if outcome is None:
                    continue
                line.call = None
                if not outcome:
                    line.next_at = now + _PAUSE_S
                    # Whoever comes back there has none of what was sent before.
                    self._sent = {way: v for way, v in self._sent.items() if way[0] != other}
            if now < line.next_at and not self._has_news(other, line, now):
                continue
            line.call = self._post(other, self._parcel(other, line))
            line.next_at = now + _HEARTBEAT_S
            sent = True
        return sent

    def take(self, parcel: Parcel) -> None:
        """Take in what another node has sent."""
        with self._lock:
            self._heard_at[parcel.node] = time.monotonic()
            for rank in self._ranks[parcel.node]:
                self._mailboxes.set_down(rank, rank in parcel.down)
                if (counters := parcel.counters.get(rank)) is not None:
                    self._board.set(rank, Cell.AGENT_STEPS, counters.agent_steps)
                    self._board.set(rank, Cell.READY, counters.ready)
            for letter in parcel.letters:
                if letter.sender in self._ranks[parcel.node]:
                    self._deliver(letter)

    def mind_silence(self) -> list[int]:
        """Set down the learners of nodes that have been silent for too long; returns the nodes."""
        silent = []
        with self._lock:
            for other, heard_at in self._heard_at.items():
                if time.monotonic() - heard_at <= self._silence_s:
                    continue
                silent.append(other)
                for rank in self._ranks[other]:
                    self._mailboxes.set_down(rank, True)
        return silent

    def _has_news(self, other: int, line: _Line, now: float) -> bool:
        paused = line.next_at - now > _HEARTBEAT_S
        return not paused and any(
            self._mailboxes.version(rank) > self._sent.get((other, rank), 0) for rank in line.heard
        )

    def _parcel(self, other: int, line: _Line) -> Parcel:
        letters = []
        for rank in line.heard:
            if self._mailboxes.version(rank) <= self._sent.get((other, rank), 0):
                continue
            message = self._mailboxes.latest(rank)
            if message is not None:
                packed = pack(message.parameters, self._precision)
                letters.append(Letter(rank, message.version, packed))
                self._sent[other, rank] = message.version
        own = self._ranks[self._node]
        return Parcel(
            node=self._node,
            counters={
                rank: Counters(
                    self._board.get(rank, Cell.AGENT_STEPS), self._board.get(rank, Cell.READY)
                )
                for rank in own
            },
            down=frozenset(rank for rank in own if self._mailboxes.is_down(rank)),
            letters=tuple(letters),
        )

    def _deliver(self, letter: Letter) -> None:
        if letter.version <= self._mailboxes.version(letter.sender):
            return
        try:
            parameters = unpack(letter.parameters)
        except ValueError:
            self.rejected += 1
            return
        if defect(parameters, self._mailboxes.size) is not None:
            self.rejected += 1
            return
        self._mailboxes.write(Message(letter.sender, letter.version, parameters))


def routes(node: int, ranks: Sequence[range], topology: Topology) -> Mapping[int, tuple[int, ...]]:
    """For each other node, which learners of this one are heard there."""
    return {
        other: tuple(
            sender
            for sender in ranks[node]
            if any(sender in topology.all_in_neighbours(receiver) for receiver in ranks[other])
        )
        for other in range(len(ranks))
        if other != node
    }
