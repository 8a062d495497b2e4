"""Gossip's messages under way: the rules of `gala_rl.gossip.node` for all learners at once.

The protocol is that of `GossipNode`, which a test holds it against, event for event; nothing here
is an object a learner, so that ten thousand of them are cheap. Messages on one edge arrive in
their order, so that nobody need be told of an arrival: a receiver looks when it has made an update.
"""

from typing import Literal, NamedTuple

from gala_lab.simulation.randomness import Vector
from gala_rl.gossip.topology import Topology


class InFlightMessage(NamedTuple):
    """A message, on its way to one receiver or there."""

    sender: int
    version: int
    arrival_s: float
    parameters: Vector


class Network:
    """Ports, edges and inboxes of learners that gossip.

    Args:
        topology: who hears whom.
        when: mix when "all" in-neighbours have news, or "any" has.
        message_s: seconds that a message to one receiver keeps the sender's port busy.
        latency_s: seconds from the last byte's departure to its arrival.
        sent: where the messages that have left each learner's port are counted.
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
        self._heard = topology.rounds
        hearing = [_reversed(graph) for graph in topology.rounds]
        self._near = [_on_its_node(graph, learners_per_node, True) for graph in hearing]
        self._far = [_on_its_node(graph, learners_per_node, False) for graph in hearing]
        self._period = topology.period
        self._when = when
        self._message_s, self._latency_s = message_s, latency_s
        self._free_s = [0.0] * topology.learners
        self._waiting: dict[int, tuple[int, Vector]] = {}
        self._inbox: list[dict[int, list[InFlightMessage]]] = [
            {sender: [] for sender in topology.all_in_neighbours(receiver)}
            for receiver in range(topology.learners)
        ]
        # (receiver, sender): the sender has died and not been heard since, so nobody waits for it.
        self._excused: set[tuple[int, int]] = set()

    def send(self, sender: int, version: int, parameters: Vector, now_s: float) -> float | None:
        """Send to all who hear the sender in the round of `version`.

        Where the port is still busy the message waits, in place of an older one that does.

        Returns:
            When to call `send_waiting`, if that has to be arranged.
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
        """The port is free: the message that waits for it, if one still does, leaves."""
        if sender in self._waiting:
            self._depart(sender, *self._waiting.pop(sender), now_s)

    def take(self, receiver: int, version: int, now_s: float) -> list[InFlightMessage]:
        """What the receiver mixes after its update `version`: nothing if it has to go on alone."""
        ready, is_one_missing = [], False
        inbox = self._inbox[receiver]
        for sender in self._heard[version % self._period][receiver]:
            queue = inbox[sender]
            _drop_replaced(queue, now_s)
            if queue and queue[0].arrival_s <= now_s:
                ready.append(queue)
                self._excused.discard((receiver, sender))
            elif (receiver, sender) not in self._excused:
                is_one_missing = True
        if is_one_missing and self._when == "all":
            return []
        return [queue.pop(0) for queue in ready]

    def lose(self, learner: int) -> None:
        """A learner is dead: what is under way from it, or in its inbox, is lost."""
        self._waiting.pop(learner, None)
        for queue in self._inbox[learner].values():
            queue.clear()
        for hearing in (*self._near, *self._far):
            for receiver in hearing[learner]:
                self._inbox[receiver][learner].clear()
                self._excused.add((receiver, learner))

    def _depart(self, sender: int, version: int, parameters: Vector, now_s: float) -> None:
        receivers = self._far[version % self._period][sender]
        sent_s = now_s
        for receiver in receivers:
            sent_s += self._message_s
            arrival_s = sent_s + self._latency_s
            self._put(receiver, InFlightMessage(sender, version, arrival_s, parameters), now_s)
        self._free_s[sender] = sent_s
        self._sent[sender] += len(receivers)

    def _put(self, receiver: int, letter: InFlightMessage, now_s: float) -> None:
        queue = self._inbox[receiver][letter.sender]
        _drop_replaced(queue, now_s)
        queue.append(letter)


def _drop_replaced(queue: list[InFlightMessage], now_s: float) -> None:
    """The latest wins: forget letters that a newer one, there by now, replaces."""
    while len(queue) > 1 and queue[1].arrival_s <= now_s:
        del queue[0]


def _reversed(graph: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Who hears each learner, from whom each learner hears."""
    hearing: list[list[int]] = [[] for _ in graph]
    for receiver, senders in enumerate(graph):
        for sender in senders:
            hearing[sender].append(receiver)
    return hearing


def _on_its_node(hearing: list[list[int]], learners_per_node: int, same: bool) -> list[list[int]]:
    """Those who hear each learner, and are on the same node as it, or on another."""
    return [
        [r for r in receivers if (r // learners_per_node == sender // learners_per_node) is same]
        for sender, receivers in enumerate(hearing)
    ]
