"""How learners keep together: gossip, all-reduce, a parameter server, local SGD.

Each scheme is an endless generator of the times at which a simulation may end. After each change
of the learners' parameters it calls `observe` with the time, seconds.
"""

from collections.abc import Callable, Iterator
from itertools import chain

from gala_lab.simulation import costs
from gala_lab.simulation.event_queue import (
    APPLIED,
    FAILED,
    PORT_FREE,
    RETURNED,
    UPDATED,
    EventQueue,
)
from gala_lab.simulation.network import Network
from gala_lab.simulation.world import World
from gala_rl.gossip import topology

Observe = Callable[[float], None]
Scheme = Callable[[World, Observe], Iterator[float]]


def gossip(world: World, observe: Observe) -> Iterator[float]:
    """Update, send, mix with what is there, never wait.

    "Gossip-based Actor-Learner Architectures for Deep Reinforcement Learning", Assran et al.
    2019, Algorithm 1. Those whose updates end at the same instant all send before any mixes.
    """
    agenda = EventQueue(world)
    gossiping = _Gossiping(world, agenda)
    while True:
        now_s, happening = agenda.next_instant()
        for kind, learner in happening:
            gossiping.happen(kind, learner, now_s)
        for kind, learner in happening:
            if kind == UPDATED:
                gossiping.mix(learner, now_s)
                agenda.start_update(learner, now_s)
        observe(now_s)
        yield now_s


class _Gossiping:
    """Learners, and the network between them.

    Args:
        world: whose learners they are.
        agenda: of what happens to them.
    """

    def __init__(self, world: World, agenda: EventQueue) -> None:
        config = world.config
        self._world, self._agenda = world, agenda
        per_node = config.learners_per_node
        self._graph = topology.make(config.topology, config.learners, per_node)
        message_s = costs.transfer_s(config.message_bytes, config.bandwidth_bytes_per_s)
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

    def happen(self, kind: int, learner: int, now_s: float) -> None:
        """All that an event changes, except for what is mixed after it."""
        if kind == UPDATED:
            self._world.make_update(learner)
            version, parameters = self._world.updates[learner], self._world.parameters[learner]
            free_s = self._network.send(learner, version, parameters, now_s)
            if free_s is not None:
                self._agenda.add(free_s, PORT_FREE, learner)
        elif kind == PORT_FREE:
            self._network.send_waiting(learner, now_s)
        elif kind == FAILED:
            self._network.lose(learner)
            self._agenda.fail(learner, now_s)
        elif kind == RETURNED:
            others = range(self._graph.learners)
            self._world.come_back(learner, chain(self._graph.all_in_neighbours(learner), others))
            self._agenda.start_update(learner, now_s)

    def mix(self, learner: int, now_s: float) -> None:
        """Mix what is there for a learner that has just made an update, if it may."""
        letters = self._network.take(learner, self._world.updates[learner], now_s)
        self._world.mix(learner, letters)


def parameter_server(world: World, observe: Observe) -> Iterator[float]:
    """Each learner sends its update to a server and goes on from what the server then holds.

    "Large Scale Distributed Deep Networks", Dean et al. 2012 (Downpour SGD), a fetch and a push an
    update. An update counts 1 / n, so that a round of all learners' is one averaged step here too.
    """
    learners = world.config.learners
    server, agenda = _Server(world), EventQueue(world)
    while True:
        now_s, happening = agenda.next_instant()
        for kind, learner in happening:
            if kind == UPDATED:
                agenda.add(server.receive(learner, now_s), APPLIED, learner)
            elif kind == APPLIED:
                server.apply(learner, learners)
                agenda.start_update(learner, server.reply(learner, now_s))
            elif kind == FAILED:
                agenda.fail(learner, now_s)
            elif kind == RETURNED:
                world.come_back(learner, [])
                agenda.start_update(learner, server.reply(learner, now_s))
        observe(now_s)
        yield now_s


class _Server:
    """The server's parameters and its port, which serves one learner after another each way.

    Args:
        world: whose learners it serves.
    """

    def __init__(self, world: World) -> None:
        config = world.config
        self._world = world
        self._message_s = costs.transfer_s(config.message_bytes, config.bandwidth_bytes_per_s)
        self._latency_s = config.latency_s
        self._in_free_s = self._out_free_s = 0.0
        self._parameters = world.served = world.problem.start()
        self._read_at = [0] * config.learners
        world.sent_messages.append(0)

    def receive(self, learner: int, now_s: float) -> float:
        """When the update that a learner sends now is there."""
        self._world.sent_messages[learner] += 1
        self._in_free_s = max(now_s + self._latency_s, self._in_free_s) + self._message_s
        return self._in_free_s

    def apply(self, learner: int, learners: int) -> None:
        """Make a learner's update, computed from what it had read; others' came between."""
        world = self._world
        world.ages[world.total_updates - self._read_at[learner]] += 1
        update = world.problem.update(world.parameters[learner])
        self._parameters = world.served = self._parameters + update / learners
        world.count_update(learner)
        world.mixes += 1

    def reply(self, learner: int, now_s: float) -> float:
        """Hand a learner the parameters as they are now. Returns when they are there."""
        world = self._world
        world.sent_messages[-1] += 1
        world.parameters[learner] = self._parameters
        self._read_at[learner] = world.total_updates
        self._out_free_s = max(now_s, self._out_free_s) + self._message_s
        return self._out_free_s + self._latency_s


def all_reduce(world: World, observe: Observe) -> Iterator[float]:
    """Everybody waits for everybody after each update: synchronous training."""
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
    """Everybody makes several updates alone, then waits for everybody and averages.

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
    """Those who are there when a round begins; joiners come in with the others' parameters."""
    config = world.config
    if now_s >= config.join_at_s:
        for learner in range(config.learners - config.joiners, config.learners):
            if not world.is_present[learner]:
                world.come_back(learner, range(config.learners))
    return [learner for learner, is_present in enumerate(world.is_present) if is_present]


def _make_updates(world: World, learner: int, start_s: float, steps: int) -> list[float]:
    """The ends of a learner's next updates: one under way at a failure is begun anew after it.

    A barrier waits for whoever has failed, who comes back with the parameters that it had.
    """
    ends_s: list[float] = []
    while len(ends_s) < steps:
        end_s, has_failed = world.clocks.finish(learner, start_s)
        if has_failed:
            world.failures += 1
            start_s = max(start_s, world.clocks.come_back(learner, end_s))
        else:
            ends_s.append(end_s)
            start_s = end_s
    return ends_s


def _average(world: World, members: list[int], now_s: float) -> float:
    """All members' parameters become their mean. Returns when."""
    config = world.config
    world.average(members)
    for learner in members:
        world.sent_messages[learner] += costs.all_reduce_bytes(len(members), 1)
    return now_s + costs.all_reduce_s(
        len(members), config.message_bytes, config.latency_s, config.bandwidth_bytes_per_s
    )


BY_NAME: dict[str, Scheme] = {
    "gossip": gossip,
    "all-reduce": all_reduce,
    "parameter-server": parameter_server,
    "local-sgd": local_sgd,
}
