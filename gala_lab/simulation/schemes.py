"""Schemes of communication: gossip, all-reduce, a parameter server, local SGD.

Each scheme is an endless generator of the times at which a simulation may end. After each change
of the learners' parameters it calls `observe` with the time, seconds.
"""

from collections.abc import Callable, Iterator
from itertools import chain

from gala_lab.simulation.event_queue import (
    APPLIED,
    FAILED,
    PORT_FREE,
    RETURNED,
    UPDATED,
    EventQueue,
)
from gala_lab.simulation.network_model import (
    Network,
    all_reduce_bytes,
    all_reduce_s,
    transfer_s,
)
from gala_lab.simulation.world import World
from gala_rl.gossip import topology

Observe = Callable[[float], None]
Scheme = Callable[[World, Observe], Iterator[float]]


def gossip(world: World, observe: Observe) -> Iterator[float]:
    """Update, send, mix with what has arrived, never wait.

    "Gossip-based Actor-Learner Architectures for Deep Reinforcement Learning", Assran et al.
    2019, Algorithm 1. Learners whose updates end at the same instant all send before any mixes.
    """
    events = EventQueue(world)
    gossiping = _Gossiping(world, events)
    while True:
        now_s, events_now = events.next_instant()
        for kind, learner in events_now:
            gossiping.apply(kind, learner, now_s)
        for kind, learner in events_now:
            if kind == UPDATED:
                gossiping.mix(learner, now_s)
                events.start_update(learner, now_s)
        observe(now_s)
        yield now_s


class _Gossiping:
    """Learners, and the network between them.

    Args:
        world: state of the learners.
        events: events of the learners.
    """

    def __init__(self, world: World, events: EventQueue) -> None:
        config = world.config
        self._world, self._events = world, events
        per_node = config.learners_per_node
        self._graph = topology.make(config.topology, config.learners, per_node)
        message_s = transfer_s(config.message_bytes, config.bandwidth_bytes_per_s)
        self._network = Network(
            self._graph,
            topology.resolve_when(config.when, config.topology),
            message_s,
            config.latency_s,
            world.sent_messages,
            learners_per_node=per_node or 1,
        )
        for learner, is_present in enumerate(world.is_present):
            if not is_present:
                self._network.lose(learner)

    def apply(self, kind: int, learner: int, now_s: float) -> None:
        """Apply an event, except for the mix after it."""
        if kind == UPDATED:
            self._world.make_update(learner)
            version, parameters = self._world.updates[learner], self._world.parameters[learner]
            free_s = self._network.send(learner, version, parameters, now_s)
            if free_s is not None:
                self._events.add(free_s, PORT_FREE, learner)
        elif kind == PORT_FREE:
            self._network.send_waiting(learner, now_s)
        elif kind == FAILED:
            self._network.lose(learner)
            self._events.fail(learner, now_s)
        elif kind == RETURNED:
            others = range(self._graph.learners)
            self._world.join(learner, chain(self._graph.all_in_neighbours(learner), others))
            self._events.start_update(learner, now_s)

    def mix(self, learner: int, now_s: float) -> None:
        """Mix the messages for a learner that has just made an update."""
        messages = self._network.take(learner, self._world.updates[learner], now_s)
        self._world.mix(learner, messages)


def parameter_server(world: World, observe: Observe) -> Iterator[float]:
    """Send each update to a server and continue from the server's parameters.

    "Large Scale Distributed Deep Networks", Dean et al. 2012 (Downpour SGD), with a fetch and a
    push per update. An update counts 1 / n: one of each learner is one averaged step here too.
    """
    learners = world.config.learners
    server, events = _Server(world), EventQueue(world)
    while True:
        now_s, events_now = events.next_instant()
        for kind, learner in events_now:
            if kind == UPDATED:
                events.add(server.receive(learner, now_s), APPLIED, learner)
            elif kind == APPLIED:
                server.apply(learner, learners)
                events.start_update(learner, server.reply(learner, now_s))
            elif kind == FAILED:
                events.fail(learner, now_s)
            elif kind == RETURNED:
                world.join(learner, [])
                events.start_update(learner, server.reply(learner, now_s))
        observe(now_s)
        yield now_s


class _Server:
    """The server's parameters and its port, which serves one learner after another each way.

    Args:
        world: state of the learners.
    """

    def __init__(self, world: World) -> None:
        config = world.config
        self._world = world
        self._message_s = transfer_s(config.message_bytes, config.bandwidth_bytes_per_s)
        self._latency_s = config.latency_s
        self._in_free_s = self._out_free_s = 0.0
        self._parameters = world.served = world.problem.start()
        self._read_at = [0] * config.learners
        world.sent_messages.append(0)

    def receive(self, learner: int, now_s: float) -> float:
        """Return when the update that a learner sends now arrives."""
        self._world.sent_messages[learner] += 1
        self._in_free_s = max(now_s + self._latency_s, self._in_free_s) + self._message_s
        return self._in_free_s

    def apply(self, learner: int, learners: int) -> None:
        """Apply a learner's update to the server's parameters, which others have changed since."""
        world = self._world
        world.ages[world.total_updates - self._read_at[learner]] += 1
        update = world.problem.update(world.parameters[learner])
        self._parameters = world.served = self._parameters + update / learners
        world.count_update(learner)
        world.mixes += 1

    def reply(self, learner: int, now_s: float) -> float:
        """Send a learner the current parameters. Return when they arrive."""
        world = self._world
        world.sent_messages[-1] += 1
        world.parameters[learner] = self._parameters
        self._read_at[learner] = world.total_updates
        self._out_free_s = max(now_s, self._out_free_s) + self._message_s
        return self._out_free_s + self._latency_s


def all_reduce(world: World, observe: Observe) -> Iterator[float]:
    """Average all learners after each update: synchronous training."""
    now_s = 0.0
    while True:
        members = _members(world, now_s)
        now_s = max(_make_updates(world, learner, now_s, 1)[-1] for learner in members)
        for learner in members:
            world.make_update(learner)
        now_s = _average(world, members, now_s)
        observe(now_s)
        yield now_s


def local_sgd(world: World, observe: Observe) -> Iterator[float]:
    """Average all learners after several updates of each.

    "Local SGD Converges Fast and Communicates Little", Stich 2019.
    """
    now_s = 0.0
    while True:
        members = _members(world, now_s)
        steps = world.config.average_every
        updates = [(t, i) for i in members for t in _make_updates(world, i, now_s, steps)]
        for now_s, learner in sorted(updates):
            world.make_update(learner)
            observe(now_s)
        now_s = _average(world, members, now_s)
        observe(now_s)
        yield now_s


def _members(world: World, now_s: float) -> list[int]:
    """Return the learners that take part in a round; joiners take over the others' parameters."""
    config = world.config
    if now_s >= config.join_at_s:
        for learner in range(config.learners - config.joiners, config.learners):
            if not world.is_present[learner]:
                world.join(learner, range(config.learners))
    return [learner for learner, is_present in enumerate(world.is_present) if is_present]


def _make_updates(world: World, learner: int, start_s: float, steps: int) -> list[float]:
    """Return the ends of a learner's next updates; one that a failure interrupts starts anew.

    A barrier waits for a failed learner, which returns with the parameters that it had.
    """
    ends_s: list[float] = []
    while len(ends_s) < steps:
        end_s, has_failed = world.clocks.finish(learner, start_s)
        if has_failed:
            world.failures += 1
            start_s = max(start_s, world.clocks.recover(learner, end_s))
        else:
            ends_s.append(end_s)
            start_s = end_s
    return ends_s


def _average(world: World, members: list[int], now_s: float) -> float:
    """Replace all members' parameters by their mean. Return when that is done."""
    config = world.config
    world.average(members)
    for learner in members:
        world.sent_messages[learner] += all_reduce_bytes(len(members), 1)
    return now_s + all_reduce_s(
        len(members), config.message_bytes, config.latency_s, config.bandwidth_bytes_per_s
    )


BY_NAME: dict[str, Scheme] = {
    "gossip": gossip,
    "all-reduce": all_reduce,
    "parameter-server": parameter_server,
    "local-sgd": local_sgd,
}
