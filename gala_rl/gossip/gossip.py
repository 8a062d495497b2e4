"""Gossip for any PyTorch loop: ties the protocol to a transport and to a parameter vector."""

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
_TRIES = 4


class Gossip:
    """Call `exchange()` after each optimiser step: it sends, and mixes what is there.

    Args:
        parameters: [P] the learner's parameter vector (`FlatParameters(model).values`); mixed in
            place.
        transport: the learner's end of the network.
        rank: of this learner.
        topology: who hears whom.
        when: mix when "all" in-neighbours have news, or "any" has.
        max_staleness: updates without a mix after which to wait; None: never.
        deadline_s: longest wait, seconds.

    Attributes:
        parameters: [P] as given.
        transport: as given.
        node: the protocol's state, with its counters.
        wait_s: seconds spent waiting for neighbours, in all.
        has_neighbours: whether anybody gossips.
        last_mixed: (sender, version) of each message that the last `exchange` mixed in.
        mixed_at_s: when the last mix was done and its messages were whole, monotonic clock.
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
        """Gossip in another graph from the next `exchange` on; see `GossipNode`.

        Between an `outbox` and its `exchange` it must not be called.
        """
        self.node.change_topology(topology)
        self.has_neighbours = topology.max_in_degree > 0

    def outbox(self) -> Tensor | None:
        """[P] where an optimiser may write the new parameters, to spare `exchange` a copy.

        Once asked for it has to be filled: the next `exchange` takes it for the learner's
        parameters, sends it where it lies, and writes it, mixed or not, to `parameters`.

        Returns:
            None where parameters must be copied to be sent, or there is nobody to send them to.
        """
        if self.has_neighbours and not self.parameters.is_cuda:
            self._outbox = self.transport.outbox()
        return self._outbox

    def exchange(self, version: int | None = None) -> int:
        """Send the parameters, then mix if the protocol says so.

        Args:
            version: the learner's number of updates; default: one more than last time.

        Returns:
            Number of messages that were mixed in, 0 if none.
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
        self._mix_what_is_there(sent, parameters)
        if not self.last_mixed and outbox is not None:
            self.parameters.copy_(outbox)
        return len(self.last_mixed)

    def _mix_what_is_there(self, sent: Message, parameters: Tensor) -> None:
        self._poll()
        for _ in range(_TRIES):
            decision = self._decide()
            if not isinstance(decision, Mix):
                return
            if self._mix(decision, sent, parameters):
                self.last_mixed = tuple((m.sender, m.version) for m in decision.messages)
                return
            self._poll()

    def _mix(self, mix: Mix, sent: Message, parameters: Tensor) -> bool:
        """Mix messages where they lie; False, and nothing is changed, if one was overwritten."""
        mix_(self.parameters, [message.parameters for message in mix.messages], parameters)
        # Before they are found whole, since senders go on whenever this process is not running.
        self.mixed_at_s = time.monotonic()
        if all(message.is_whole() for message in mix.messages):
            self.node.on_mixed(mix)
            return True
        # A sender was faster than the mix. What was sent is what these parameters were.
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
