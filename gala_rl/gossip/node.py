"""Gossip protocol of one learner, as a state machine without I/O.

Rules
    1. After each update, a learner sends its parameters to its out-neighbours. It never waits for
       a receiver: a newer message replaces an older one that was not read.
    2. It then mixes if every live in-neighbour of the round has sent a message newer than the one
       it last mixed (`when="all"`, GALA's Algorithm 1), or with those that have (`"any"`).
    3. Otherwise it continues with its own parameters. Only after `max_staleness` updates without a
       mix does it wait for the missing neighbours.
    4. A neighbour that is known to be dead, or that sends nothing before the deadline of a wait, is
       left out until its next message; the weights of the others grow accordingly.
    5. A message is rejected if it is not newer than the last one, malformed or not finite. A
       malformed one also discards an earlier message of its sender that was not mixed yet.
    6. Neighbours may change between two updates. Messages of former neighbours are not mixed, and
       from a neighbour that returns only later messages count.

The caller reports events (`on_update`, `on_message`, `on_mixed`, `on_peer_down`, `on_deadline`) and
carries out the actions that are returned. So unit tests cover ordering, loss, delay and staleness.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from gala_rl.gossip.message import Message
from gala_rl.gossip.mixing import defect
from gala_rl.gossip.topology import Topology


@dataclass(frozen=True)
class Send:
    """Send the learner's parameters as `version` to `receivers`."""

    version: int
    receivers: tuple[int, ...]


@dataclass(frozen=True)
class Mix:
    """Average the learner's parameters with these messages, with equal weights."""

    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Wait:
    """Make no update until one of these learners has sent a message, or the deadline has passed."""

    missing: tuple[int, ...]


@dataclass(frozen=True)
class Proceed:
    """Continue with the learner's own parameters."""


Decision = Mix | Wait | Proceed


class GossipNode:
    """State of the gossip protocol at one learner.

    Args:
        rank: rank of the learner in the topology.
        topology: communication graph.
        size: P, length of a valid parameter vector.
        when: mix when "all" live in-neighbours have sent a new message, or "any".
        max_staleness: number of updates without a mix after which to wait; None: never.

    Attributes:
        rank: as given.
        topology: as given, or as changed since.
        version: number of updates of this learner.
        staleness_updates: number of its updates since the last mix.
        mixes: number of rounds that mixed.
        rejected: number of rejected messages by reason.
        overdue: how often a neighbour missed the deadline of a wait.

    Raises:
        ValueError: when the rank is outside the topology.
    """

    def __init__(
        self,
        rank: int,
        topology: Topology,
        *,
        size: int,
        when: Literal["all", "any"] = "all",
        max_staleness: int | None = None,
    ) -> None:
        if not 0 <= rank < topology.learners:
            raise ValueError(f"rank {rank} is outside the topology's {topology.learners} learners")
        self.rank = rank
        self.topology = topology
        self.version = 0
        self.staleness_updates = 0
        self.mixes = 0
        self.rejected: Counter[str] = Counter()
        self.overdue = 0
        self._size = size
        self._when = when
        self._max_staleness = max_staleness
        self._neighbours = frozenset(topology.all_in_neighbours(rank))
        self._fresh: dict[int, Message] = {}
        self._accepted_version = dict.fromkeys(self._neighbours, 0)
        self._mixed_version = dict.fromkeys(self._neighbours, 0)
        self._down: set[int] = set()

    def change_topology(self, topology: Topology) -> None:
        """Use another topology, perhaps of another number of learners; keep all counters."""
        if self.rank >= topology.learners:
            raise ValueError(f"learner {self.rank} is not among {topology.learners} learners")
        self.topology = topology
        self._neighbours = frozenset(topology.all_in_neighbours(self.rank))
        for learner in self._fresh.keys() - self._neighbours:
            del self._fresh[learner]
        self._mixed_version = {j: self._mixed_version.get(j, 0) for j in self._neighbours}
        # Versions of former neighbours are kept, so that no old message is mixed when they return.
        self._accepted_version = dict.fromkeys(self._neighbours, 0) | self._accepted_version

    @property
    def listening_to(self) -> tuple[int, ...]:
        """In-neighbours of the current round, including dead ones: a message revives them."""
        return self.topology.in_neighbours(self.rank, self.version)

    @property
    def mixed_versions(self) -> dict[int, int]:
        """Version of the last mixed message per in-neighbour; 0 if there is none."""
        return dict(self._mixed_version)

    def restore(self, version: int, mixed_versions: dict[int, int], staleness_updates: int) -> None:
        """Continue from a saved version, last mixed versions and updates since the last mix."""
        self.version = version
        self.staleness_updates = staleness_updates
        self._fresh.clear()
        for learner in self._neighbours:
            self._mixed_version[learner] = mixed_versions.get(learner, 0)
            self._accepted_version[learner] = self._mixed_version[learner]

    def on_update(self, version: int) -> Send:
        """Report an update; return what to send."""
        if version <= self.version:
            raise ValueError(f"version {version} is not newer than {self.version}")
        self.staleness_updates += version - self.version
        self.version = version
        return Send(version, self.topology.out_neighbours(self.rank, version))

    def on_message(self, message: Message) -> str | None:
        """Report an arrived message; return why it was rejected, None if it was accepted."""
        reason = self._reason_to_reject(message)
        if reason is None:
            reason = defect(message.parameters, self._size)
            self._fresh.pop(message.sender, None)
        if reason is not None:
            self.rejected[reason] += 1
            return reason
        self._fresh[message.sender] = message
        self._accepted_version[message.sender] = message.version
        self._down.discard(message.sender)
        return None

    def on_mixed(self, mix: Mix) -> None:
        """Report that a mix has been carried out."""
        for message in mix.messages:
            del self._fresh[message.sender]
            self._mixed_version[message.sender] = message.version
        self.mixes += 1
        self.staleness_updates = 0

    def on_peer_down(self, learner: int) -> None:
        """Report that a learner is dead: do not wait for it, nor mix its last message."""
        self._down.add(learner)
        self._fresh.pop(learner, None)

    def on_deadline(self) -> None:
        """Report that a wait is over: leave missing neighbours out until their next message."""
        missing = self._missing()
        self.overdue += len(missing)
        self._down.update(missing)

    def decide(self) -> Decision:
        """Return what to do now; call it after `on_update`, and after each event during a wait."""
        missing = self._missing()
        ready = tuple(self._fresh[j] for j in self.listening_to if j in self._fresh)
        if ready and (not missing or self._when == "any"):
            return Mix(ready)
        if missing and self._is_stale():
            return Wait(missing)
        return Proceed()

    def _missing(self) -> tuple[int, ...]:
        return tuple(j for j in self.listening_to if j not in self._fresh and j not in self._down)

    def _is_stale(self) -> bool:
        return self._max_staleness is not None and self.staleness_updates > self._max_staleness

    def _reason_to_reject(self, message: Message) -> str | None:
        if message.sender not in self._neighbours:
            return "not a neighbour"
        if message.version <= self._accepted_version[message.sender]:
            return "not newer"
        return None
