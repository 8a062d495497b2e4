"""The gossip protocol of one learner, as a state machine without any I/O.

Rules
    1. After each update a learner sends its parameters to its out-neighbours. It never waits for
       a receiver: a newer message replaces an older one that was not read.
    2. It then mixes if every live in-neighbour of the round has sent something newer than what
       it last mixed (`when="all"`, GALA's Algorithm 1), or with those that have (`"any"`).
    3. Otherwise it goes on with its own parameters, except that once `max_staleness` updates
       have gone by without a mix it waits for the neighbours that are missing.
    4. A neighbour that is known to be dead, or that stays silent past the deadline of a wait, is
       left out (the weights of the others grow accordingly) until its next message.
    5. A message that is not newer than the last one is rejected. So is one that is malformed or
       not finite; what the same sender had sent before, if not yet mixed, goes with it.
    6. Neighbours may change between two updates. What one that is no neighbour any more has sent
       is not mixed; whoever returns is heard by what it sends from then on.

The caller feeds events in (`on_update`, `on_message`, `on_mixed`, `on_peer_down`, `on_deadline`)
and carries out the actions that come back. Ordering, loss, delay and staleness are thus unit tests.
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
    """Average the learner's parameters with these messages, equal weights."""

    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Wait:
    """Make no further update until one of these learners has sent, or the deadline is over."""

    missing: tuple[int, ...]


@dataclass(frozen=True)
class Proceed:
    """Nothing to mix: go on."""


Decision = Mix | Wait | Proceed


class GossipNode:
    """One learner's side of the protocol.

    Attributes:
        version: own updates so far.
        staleness_updates: own updates since the last mix.
        mixes: rounds that mixed.
        rejected: messages refused, by reason.
        overdue: times a neighbour was given up at a deadline.
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
        """Go on in another graph, of another number of learners perhaps; all counters stay."""
        if self.rank >= topology.learners:
            raise ValueError(f"learner {self.rank} is not among {topology.learners} learners")
        self.topology = topology
        self._neighbours = frozenset(topology.all_in_neighbours(self.rank))
        for learner in self._fresh.keys() - self._neighbours:
            del self._fresh[learner]
        self._mixed_version = {j: self._mixed_version.get(j, 0) for j in self._neighbours}
        # Of those that go it stays known, so that nothing old of theirs is mixed on their return.
        self._accepted_version = dict.fromkeys(self._neighbours, 0) | self._accepted_version

    @property
    def listening_to(self) -> tuple[int, ...]:
        """In-neighbours of the current round, dead ones too: their next message revives them."""
        return self.topology.in_neighbours(self.rank, self.version)

    @property
    def mixed_versions(self) -> dict[int, int]:
        """For each in-neighbour, the version of it that was last mixed (0: none yet)."""
        return dict(self._mixed_version)

    def restore(self, version: int, mixed_versions: dict[int, int], staleness_updates: int) -> None:
        """Continue as a learner that has made `version` updates and mixed these versions."""
        self.version = version
        self.staleness_updates = staleness_updates
        self._fresh.clear()
        for learner in self._neighbours:
            self._mixed_version[learner] = mixed_versions.get(learner, 0)
            self._accepted_version[learner] = self._mixed_version[learner]

    def on_update(self, version: int) -> Send:
        """The learner has made an update and is at `version` now."""
        if version <= self.version:
            raise ValueError(f"version {version} is not newer than {self.version}")
        self.staleness_updates += version - self.version
        self.version = version
        return Send(version, self.topology.out_neighbours(self.rank, version))

    def on_message(self, message: Message) -> str | None:
        """A message has arrived. Returns why it was rejected, None if it was accepted."""
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
        """A mix that was decided on has been carried out."""
        for message in mix.messages:
            del self._fresh[message.sender]
            self._mixed_version[message.sender] = message.version
        self.mixes += 1
        self.staleness_updates = 0

    def on_peer_down(self, learner: int) -> None:
        """A learner is known to be dead: what it sent last is no longer waited for nor mixed."""
        self._down.add(learner)
        self._fresh.pop(learner, None)

    def on_deadline(self) -> None:
        """A wait has lasted too long: those still missing are left out until they send again."""
        missing = self._missing()
        self.overdue += len(missing)
        self._down.update(missing)

    def decide(self) -> Decision:
        """What to do now; asked after `on_update` and again after each event during a wait."""
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
