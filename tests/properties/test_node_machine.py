"""Proves the protocol's invariants over random histories of updates, messages and deaths."""

from typing import Literal

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gala_rl.gossip import topology
from gala_rl.gossip.message import Message
from gala_rl.gossip.node import GossipNode, Mix, Wait

SIZE = 2


class NodeHistory(RuleBasedStateMachine):
    """A node, and beside it the plainest possible record of what it may and may not do."""

    @initialize(
        name=st.sampled_from(topology.NAMES),
        learners=st.integers(1, 5),
        when=st.sampled_from(["all", "any"]),
        max_staleness=st.none() | st.integers(0, 3),
    )
    def start(
        self, name: str, learners: int, when: Literal["all", "any"], max_staleness: int | None
    ) -> None:
        self.max_staleness = max_staleness
        self.when = when
        self.name = name
        self.graph = topology.make(name, learners)
        self.node = GossipNode(0, self.graph, size=SIZE, when=when, max_staleness=max_staleness)
        self.neighbours = set(self.graph.all_in_neighbours(0))
        # The one message of each sender that may be mixed, and the newest that was accepted.
        self.pending: dict[int, Message] = {}
        self.newest = dict.fromkeys(self.neighbours, 0)
        self.mixed: list[tuple[int, int]] = []
        self.last_mixed = dict.fromkeys(self.neighbours, 0)
        self.excused: set[int] = set()
        self.updates_since_mix = 0
        self.blocked = False

    @precondition(lambda self: not self.blocked)
    @rule(step=st.integers(1, 2))
    def update(self, step: int) -> None:
        send = self.node.on_update(self.node.version + step)
        self.updates_since_mix += step
        assert send.version == self.node.version
        assert send.receivers == self.graph.out_neighbours(0, send.version)
        self.consider()

    @rule(
        sender=st.integers(0, 5),
        age=st.integers(-4, 3),
        kind=st.sampled_from(["sound", "sound", "sound", "nan", "infinite", "wrong size"]),
    )
    def message(self, sender: int, age: int, kind: str) -> None:
        version = max(0, self.newest.get(sender, 0) + age)
        parameters = torch.full((SIZE,), float(version))
        if kind == "nan":
            parameters[1] = torch.nan
        elif kind == "infinite":
            parameters[0] = -torch.inf
        elif kind == "wrong size":
            parameters = parameters[:1]
        message = Message(sender, version, parameters)
        rejected_before = sum(self.node.rejected.values())
        reason = self.node.on_message(message)
        newer = sender in self.neighbours and version > self.newest[sender]
        assert (reason == "not a neighbour") == (sender not in self.neighbours)
        assert (reason is None) == (newer and kind == "sound")
        assert sum(self.node.rejected.values()) == rejected_before + (reason is not None)
        if newer:
            self.pending.pop(sender, None)
        if reason is None:
            self.pending[sender] = message
            self.newest[sender] = version
            self.excused.discard(sender)

    @precondition(lambda self: not self.blocked)
    @rule(learners=st.integers(1, 6))
    def change_size(self, learners: int) -> None:
        self.graph = topology.make(self.name, learners)
        counts = (self.node.version, self.node.mixes, self.node.staleness_updates)
        self.node.change_topology(self.graph)
        assert counts == (self.node.version, self.node.mixes, self.node.staleness_updates)
        self.neighbours = set(self.graph.all_in_neighbours(0))
        self.pending = {j: m for j, m in self.pending.items() if j in self.neighbours}
        self.last_mixed = {j: self.last_mixed.get(j, 0) for j in self.neighbours}
        self.newest = dict.fromkeys(self.neighbours, 0) | self.newest

    @rule(learner=st.integers(0, 5))
    def peer_down(self, learner: int) -> None:
        self.node.on_peer_down(learner)
        self.excused.add(learner)
        self.pending.pop(learner, None)

    @precondition(lambda self: self.blocked)
    @rule()
    def deadline(self) -> None:
        self.node.on_deadline()
        self.excused.update(j for j in self.node.listening_to if j not in self.pending)
        self.consider()
        assert not self.blocked

    @rule()
    def consider(self) -> None:
        listening = self.node.listening_to
        missing = [j for j in listening if j not in self.pending and j not in self.excused]
        decision = self.node.decide()
        self.blocked = isinstance(decision, Wait)
        if isinstance(decision, Mix):
            self.check_mix(decision, missing)
        elif isinstance(decision, Wait):
            assert list(decision.missing) == missing
            assert missing
            assert self.max_staleness is not None
            assert self.updates_since_mix > self.max_staleness
        else:
            ready = [j for j in listening if j in self.pending]
            assert not ready or (self.when == "all" and missing)
            # Only a node without live neighbours to wait for may exceed the staleness bound.
            within = self.max_staleness is None or self.updates_since_mix <= self.max_staleness
            assert within or not missing

    def check_mix(self, decision: Mix, missing: list[int]) -> None:
        senders = [message.sender for message in decision.messages]
        assert senders
        assert len(senders) == len(set(senders))
        assert set(senders) <= set(self.node.listening_to)
        assert self.when == "any" or not missing
        self.node.on_mixed(decision)
        for message in decision.messages:
            assert message is self.pending.pop(message.sender)
            assert message.sender not in self.excused
            assert torch.isfinite(message.parameters).all()
            last = max((v for j, v in self.mixed if j == message.sender), default=0)
            assert message.version > last
            self.mixed.append((message.sender, message.version))
            self.last_mixed[message.sender] = message.version
        assert not self.pending.keys() & set(senders)
        self.updates_since_mix = 0

    @invariant()
    def counts_are_kept(self) -> None:
        if not hasattr(self, "node"):
            return
        assert self.node.staleness_updates == self.updates_since_mix
        assert self.node.mixed_versions == self.last_mixed
        assert all(version <= self.newest[j] for j, version in self.last_mixed.items())


TestNodeHistory = NodeHistory.TestCase
TestNodeHistory.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, derandomize=True
)
