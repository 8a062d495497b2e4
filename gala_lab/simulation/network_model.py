"""The network: what messages cost, and gossip's messages in flight.

Every learner has one port of a given bandwidth each way. What leaves a port leaves one message
after another and arrives a latency after its last byte; the network between ports is never full.

The protocol is that of `gala_rl.gossip.node.GossipNode` for all learners at once; a test compares
the two, event for event. There is no object per learner, so that ten thousand of them are cheap.
Messages on one edge arrive in order, so an arrival needs no event: a receiver polls its inbox
after its own updates.
"""

from typing import Literal, NamedTuple

from gala_lab.simulation.random_streams import Vector
from gala_rl.gossip.topology import Topology


def transfer_s(message_bytes: float, bandwidth_bytes_per_s: float) -> float:
    """Return the seconds for which one message keeps a port busy."""
    return message_bytes / bandwidth_bytes_per_s


def all_reduce_bytes(learners: int, message_bytes: float) -> float:
    """Return what each learner sends in a ring all-reduce: 2 (n - 1) / n of a message."""
    return 2 * (learners - 1) / learners * message_bytes


def all_reduce_s(
    learners: int, message_bytes: float, latency_s: float, bandwidth_bytes_per_s: float
) -> float:
    """Return the seconds of a ring all-reduce: 2 (n - 1) steps, each moves an n-th of the message.

    Reduce-scatter, then all-gather; no algorithm sends less ("Bandwidth optimal all-reduce
    algorithms for clusters of workstations", Patarasuk and Yuan 2009).
    """
    sent_bytes = all_reduce_bytes(learners, message_bytes)
    return transfer_s(sent_bytes, bandwidth_bytes_per_s) + 2 * (learners - 1) * latency_s


class InFlightMessage(NamedTuple):
    """A message on its way to one receiver, or in its inbox."""

    sender: int
    version: int
    arrival_s: float
    parameters: Vector


class Network:
    """Ports, edges and inboxes of learners that gossip.

    Args:
        topology: topology of the learners.
        when: mix when "all" in-neighbours have news, or "any" has.
        message_s: seconds that a message to one receiver keeps the sender's port busy.
        latency_s: seconds from the last byte's departure to its arrival.
        sent: counts of messages that have left each learner's port; written to.
        learners_per_node: G; messages among learners aG … aG + G - 1 go through the memory of
            their machine: they arrive as they are sent, and pass no port.
    """

    def __init__(
        self,
        topology: Topology,
        when: Literal["all", "any"],
        message_s: float,
        latency_s: float,
        sent: list[float],
        learners_per_node: int = 1,
    ) -> None:
        self._sent = sent
        self._senders = topology.rounds
        receivers_of = [_reversed(graph) for graph in topology.rounds]
        self._near = [_by_node(graph, learners_per_node, True) for graph in receivers_of]
        self._far = [_by_node(graph, learners_per_node, False) for graph in receivers_of]
        self._period = topology.period
        self._when = when
        self._message_s, self._latency_s = message_s, latency_s
        self._free_s = [0.0] * topology.learners
        self._waiting: dict[int, tuple[int, Vector]] = {}
        self._inbox: list[dict[int, list[InFlightMessage]]] = [
            {sender: [] for sender in topology.all_in_neighbours(receiver)}
            for receiver in range(topology.learners)
        ]
        # (receiver, sender): the sender has failed and sent nothing since: it is not waited for.
        self._not_awaited: set[tuple[int, int]] = set()

    def send(self, sender: int, version: int, parameters: Vector, now_s: float) -> float | None:
        """Send to all receivers of the sender in the round of `version`.

        While the port is busy the message waits, and replaces an older one that waits.

        Returns:
            When to call `send_waiting`; None if that is not needed or already arranged.
        """
        for receiver in self._near[version % self._period][sender]:
            self._put(receiver, InFlightMessage(sender, version, now_s, parameters), now_s)
        if (free_s := self._free_s[sender]) > now_s:
            is_arranged = sender in self._waiting
            self._waiting[sender] = (version, parameters)
            return None if is_arranged else free_s
        self._depart(sender, version, parameters, now_s)
        return None

    def send_waiting(self, sender: int, now_s: float) -> None:
        """Send the message that waits for the port, now free, if there still is one."""
        if sender in self._waiting:
            self._depart(sender, *self._waiting.pop(sender), now_s)

    def take(self, receiver: int, version: int, now_s: float) -> list[InFlightMessage]:
        """Remove and return what the receiver mixes after its update `version`; may be nothing."""
        ready, is_one_missing = [], False
        inbox = self._inbox[receiver]
        for sender in self._senders[version % self._period][receiver]:
            queue = inbox[sender]
            _drop_replaced(queue, now_s)
            if queue and queue[0].arrival_s <= now_s:
                ready.append(queue)
                self._not_awaited.discard((receiver, sender))
            elif (receiver, sender) not in self._not_awaited:
                is_one_missing = True
        if is_one_missing and self._when == "all":
            return []
        return [queue.pop(0) for queue in ready]

    def lose(self, learner: int) -> None:
        """Drop what is in flight from a failed learner, and what is in its inbox."""
        self._waiting.pop(learner, None)
        for queue in self._inbox[learner].values():
            queue.clear()
        for receivers_of in (*self._near, *self._far):
            for receiver in receivers_of[learner]:
                self._inbox[receiver][learner].clear()
                self._not_awaited.add((receiver, learner))

    def _depart(self, sender: int, version: int, parameters: Vector, now_s: float) -> None:
        receivers = self._far[version % self._period][sender]
        sent_s = now_s
        for receiver in receivers:
            sent_s += self._message_s
            arrival_s = sent_s + self._latency_s
            self._put(receiver, InFlightMessage(sender, version, arrival_s, parameters), now_s)
        self._free_s[sender] = sent_s
        self._sent[sender] += len(receivers)

    def _put(self, receiver: int, message: InFlightMessage, now_s: float) -> None:
        queue = self._inbox[receiver][message.sender]
        _drop_replaced(queue, now_s)
        queue.append(message)


def _drop_replaced(queue: list[InFlightMessage], now_s: float) -> None:
    """Drop messages that a newer one, arrived by now, replaces: the latest wins."""
    while len(queue) > 1 and queue[1].arrival_s <= now_s:
        del queue[0]


def _reversed(graph: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Return the receivers of each learner, given the senders of each."""
    receivers_of: list[list[int]] = [[] for _ in graph]
    for receiver, senders in enumerate(graph):
        for sender in senders:
            receivers_of[sender].append(receiver)
    return receivers_of


def _by_node(receivers_of: list[list[int]], learners_per_node: int, same: bool) -> list[list[int]]:
    """Return the receivers of each learner that are on the same node as it, or on another."""
    return [
        [r for r in receivers if (r // learners_per_node == sender // learners_per_node) is same]
        for sender, receivers in enumerate(receivers_of)
    ]
