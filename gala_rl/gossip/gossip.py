"""Gossip for any PyTorch loop: combines protocol, transport and a flat parameter vector."""

import time
from typing import Literal

from torch import Tensor

from gala_rl.gossip.message import Message, PeerDown
from gala_rl.gossip.mixing import mix_
from gala_rl.gossip.node import Decision, GossipNode, Mix, Wait
from gala_rl.gossip.topology import Topology
from gala_rl.gossip.transports import Transport
from gala_rl.processes.heartbeat import beat

_POLL_INTERVAL_S = 0.0005
_MAX_TRIES = 4


class Gossip:
    """Gossip averaging of one learner's parameters; call `exchange()` after each optimizer step.

    Implements Algorithm 1 of *Gossip-based Actor-Learner Architectures for Deep Reinforcement
    Learning* (Assran et al. 2019, https://arxiv.org/abs/1906.04585); `gala_rl.gossip.node` states
    the protocol. Nothing blocks unless `max_staleness` is given.

        network = MemoryNetwork(learners)
        values = FlatParameters(model).values
        gossip = Gossip(values, network.transport(rank), rank, directed_ring(learners))
        for batch in batches:
            ...
            optimizer.step()
            gossip.exchange()

    Args:
        parameters: [P] float32, the learner's flat parameter vector
            (`gala_rl.FlatParameters(model).values`); mixed in place.
        transport: sends and receives the learner's messages.
        rank: rank of this learner in the topology.
        topology: in-neighbours and out-neighbours of all learners in each round.
        when: mix when "all" live in-neighbours of the round have sent a new message, or "any".
        max_staleness: number of updates without a mix after which `exchange` waits for messages;
            None: it never waits.
        deadline_s: longest wait, seconds. Neighbours that stay silent are then left out until
            their next message.

    Attributes:
        parameters: [P] as given.
        transport: as given.
        node: state and counters of the protocol.
        wait_s: total seconds spent waiting for neighbours.
        has_neighbours: whether the topology has edges; without them `exchange` does nothing.
        last_mixed: (sender, version) of each message that the last `exchange` mixed.
        mixed_at_s: monotonic time, in seconds, at which the last mix was complete.

    Raises:
        ValueError: when the rank is outside the topology.
    """

    def __init__(
        self,
        parameters: Tensor,
        transport: Transport,
        rank: int,
        topology: Topology,
        *,
        when: Literal["all", "any"] = "all",
        max_staleness: int | None = None,
        deadline_s: float = 2.0,
    ) -> None:
        self.node = GossipNode(
            rank, topology, size=parameters.numel(), when=when, max_staleness=max_staleness
        )
        self.wait_s = 0.0
        self.has_neighbours = topology.max_in_degree > 0
        self.last_mixed: tuple[tuple[int, int], ...] = ()
        self.mixed_at_s = 0.0
        self.parameters = parameters
        self.transport = transport
        self._deadline_s = deadline_s
        self._outbox: Tensor | None = None

    def change_topology(self, topology: Topology) -> None:
        """Use another topology from the next `exchange` on; see `GossipNode.change_topology`.

        Do not call it between `outbox` and the `exchange` that sends it.
        """
        self.node.change_topology(topology)
        self.has_neighbours = topology.max_in_degree > 0

    def resume(self, last: Message) -> None:
        """Continue a learner that died, from the last message that it sent.

        Its parameters are loaded, and its versions go on from there: neighbours reject messages
        that are not newer than those they know. The optimizer's state is not in the message.

        Args:
            last: from `latest(rank)` of the mailboxes.
        """
        self.parameters.copy_(last.parameters)
        self.node.restore(last.version, {}, 0)

    def outbox(self) -> Tensor | None:
        """Return memory [P] into which an optimizer may write the next parameters, without a copy.

        A caller that requests it must fill it: the next `exchange` sends it without copying and
        writes it to `parameters`, mixed or not.

        Returns:
            The memory; None if the transport copies anyway, parameters are on a GPU, or the learner
            has no neighbours.
        """
        if self.has_neighbours and not self.parameters.is_cuda:
            self._outbox = self.transport.outbox()
        return self._outbox

    def exchange(self, version: int | None = None) -> int:
        """Send the parameters to the out-neighbours, then mix if the protocol says so.

        Args:
            version: number of updates that the learner has made; default: one more than last time.

        Returns:
            Number of messages that were mixed; 0 if none.
        """
        self.last_mixed = ()
        send = self.node.on_update(self.node.version + 1 if version is None else version)
        if not self.has_neighbours:
            return 0
        outbox, self._outbox = self._outbox, None
        parameters = self.parameters if outbox is None else outbox
        sent = self.transport.send(
            Message(self.node.rank, send.version, parameters), send.receivers
        )
        self._mix_received(sent, parameters)
        if not self.last_mixed and outbox is not None:
            self.parameters.copy_(outbox)
        return len(self.last_mixed)

    def _mix_received(self, sent: Message, parameters: Tensor) -> None:
        self._poll()
        for _ in range(_MAX_TRIES):
            decision = self._decide()
            if not isinstance(decision, Mix):
                return
            if self._mix(decision, sent, parameters):
                self.last_mixed = tuple((m.sender, m.version) for m in decision.messages)
                return
            self._poll()

    def _mix(self, mix: Mix, sent: Message, parameters: Tensor) -> bool:
        """Mix messages without copying them; undo it and return False if one was overwritten."""
        mix_(self.parameters, [message.parameters for message in mix.messages], parameters)
        # Taken before the messages are verified: senders continue while this process is preempted.
        self.mixed_at_s = time.monotonic()
        if all(message.is_whole() for message in mix.messages):
            self.node.on_mixed(mix)
            return True
        # A sender overtook the mix. What was sent equals the parameters before it.
        self.parameters.copy_(sent.parameters)
        return False

    def _poll(self) -> None:
        for event in self.transport.poll(self.node.listening_to):
            if isinstance(event, PeerDown):
                self.node.on_peer_down(event.learner)
            else:
                self.node.on_message(event)

    def _decide(self) -> Decision:
        decision = self.node.decide()
        if not isinstance(decision, Wait):
            return decision
        start = time.monotonic()
        while isinstance(decision := self.node.decide(), Wait):
            if time.monotonic() - start > self._deadline_s:
                self.node.on_deadline()
            else:
                time.sleep(_POLL_INTERVAL_S)
                beat()
                self._poll()
        self.wait_s += time.monotonic() - start
        return decision
