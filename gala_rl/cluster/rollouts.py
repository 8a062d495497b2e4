"""Actors of one learner on other machines: rollouts come as bytes, parameters go, latest wins."""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gala_rl.actors import ActorProcesses, RemoteActors
from gala_rl.actors.remote import receive_word, send_word
from gala_rl.actors.rollout_storage import slots_elsewhere
from gala_rl.agent import build_model
from gala_rl.cluster.protocol import NodeSpec, unpack
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import make_simulators
from gala_rl.errors import ActorFailure, LearnerFailure, SimulatorFailure
from gala_rl.gossip import SharedMailboxes
from gala_rl.gossip.mixing import defect
from gala_rl.gossip.transports.shared import shared_zeros

ROLLOUTS = "rollouts"
"""Of a node's calls, these wait for no others; see Ray's concurrency groups."""
_PATIENCE_S = 0.2
"""Longest that a call waits for a rollout: parameters go with the next."""
_PAUSE_S = 0.5
"""After a call that failed."""
_IDLE_S = 0.002


@dataclass(frozen=True)
class RolloutRequest:
    """What the learner's node asks another for.

    Attributes:
        version: of the parameters, updates of the learner.
        parameters: [P] float32; None if the other has been sent this version before.
        room: rollouts there is room for, by index of their actor.
    """

    version: int
    parameters: NDArray[np.float32] | None
    room: dict[int, int]


@dataclass(frozen=True)
class RolloutBatch:
    """What a node with actors gives in answer.

    Attributes:
        rollouts: each one's actor and the content of its slot.
        deaths: of actors, since the node was set up.
    """

    rollouts: list[tuple[int, NDArray[np.uint8]]]
    deaths: int


Dispatch = Callable[[int, RolloutRequest], "Future[RolloutBatch | None]"]
"""(node, errand) → the call that runs it."""


class RolloutServer:
    """Actors of this machine, whose learner is on another.

    `keep` is for one thread, with which actors end; `load` may be called from another.

    Args:
        config: of the run, resolved.
        node: index of this one.
        indices: of the actors, among all of the learner's.
        size: P, length of a parameter vector.
        seed: of these actors.

    Attributes:
        failure: why the run has to be given up; None as long as it has not.
    """

    def __init__(
        self, config: ResolvedConfig, node: int, indices: range, size: int, seed: int
    ) -> None:
        self.failure: LearnerFailure | None = None
        self._config, self._node, self._indices, self._seed = config, node, indices, seed
        self._values = torch.zeros(size)
        self._queue: ActorProcesses | None = None
        self._version: int | None = None
        self._lock = threading.Lock()
        self._deaths = self._told = 0

    def keep(self, is_ending: Callable[[], bool]) -> None:
        """Start actors and see that they live, until the end."""
        config, make_model = self._config, partial(build_model, self._config)
        try:
            simulators = make_simulators(config.env, 1, 1, config.atari)
            cpu, seed = torch.device("cpu"), self._seed
            queue = ActorProcesses(
                config, 0, make_model, self._values, simulators, cpu, seed, self._indices
            )
            with closing(queue):
                self._queue = queue
                while not is_ending():
                    with self._lock:
                        queue.tend()
                        self._deaths = queue.deaths
                    time.sleep(_IDLE_S)
        except (ActorFailure, SimulatorFailure) as error:
            self.failure = LearnerFailure(f"{error} on {socket.gethostname()}, in Ray's logs there")

    def load(self, errand: RolloutRequest) -> RolloutBatch | None:
        """Have actors go on by these parameters, and give what they have done; waits a little.

        Returns:
            None as long as actors are not there.
        """
        if (queue := self._queue) is None:
            return None
        parameters = None if errand.parameters is None else unpack(errand.parameters)
        if parameters is not None and defect(parameters, self._values.numel()) is None:
            with self._lock:
                queue.offer(errand.version, parameters)
            self._version = errand.version
        if self._version != errand.version:
            return None  # It was another life of this node that has been sent them.
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            with self._lock:
                rollouts = queue.hand_over(errand.room)
            if rollouts or time.monotonic() > give_up:
                return RolloutBatch(rollouts, self._deaths)
            time.sleep(_IDLE_S)

    def take_notices(self) -> list[str]:
        """What there is to tell since the last call, a line each."""
        died, self._told = self._deaths - self._told, self._deaths
        who = f"node {self._node} (actors {self._indices[0]} to {self._indices[-1]})"
        return [f"{who}: {died} died and {'were' if died > 1 else 'was'} restarted"] if died else []


@dataclass
class _ServerLink:
    """To one node with actors, and back.

    Attributes:
        actors: indices of those there.
        sent: version of the parameters that it has.
        deaths: of actors, in its latest answer.
        not_before: time of the next call.
    """

    actors: range
    call: "Future[RolloutBatch | None] | None" = None
    sent: int | None = None
    sending: int = 0
    deaths: int = 0
    not_before: float = 0.0


@dataclass
class _LearnerSession:
    """Of the learner: its connection, and the slots that it wants filled, by actor."""

    connection: Connection
    free: dict[int, list[int]] = field(default_factory=dict)


class RolloutClient:
    """Fills the slots of a learner of this machine with rollouts of actors on others.

    To each other node at most one call is under way; it asks for no more than there is room for.
    So a slow link, or a dead node, holds up its own actors' slots and nobody else's.

    Args:
        elsewhere: the slots, and what else is shared with the learner.
        actors: indices of those of each other node, by its index.
        dispatch: sends an errand.
    """

    def __init__(
        self, elsewhere: RemoteActors, actors: Mapping[int, range], dispatch: Dispatch
    ) -> None:
        self._elsewhere, self._dispatch = elsewhere, dispatch
        self._slots = elsewhere.by_actor
        self._ways = {node: _ServerLink(indices) for node, indices in actors.items()}
        self._life: _LearnerSession | None = None
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(elsewhere.path)
        self._door.listen()
        self._door.setblocking(False)

    def carry(self) -> bool:
        """One look at everybody; returns whether there was anything to do."""
        busy = self._admit()
        busy |= self._hear()
        for node, way in self._ways.items():
            if way.call is not None and way.call.done():
                self._unload(way, way.call)
                way.call, busy = None, True
            if way.call is None and time.monotonic() >= way.not_before:
                busy |= self._send(node, way)
        return busy

    def keep(self, is_ending: Callable[[], bool]) -> None:
        """Go on carrying until the end."""
        with closing(self):
            while not is_ending():
                if not self.carry():
                    time.sleep(_IDLE_S)

    def close(self) -> None:
        """Nobody is let in any more."""
        self._door.close()

    def _admit(self) -> bool:
        """Let a learner in that has just been started: all that its slots held is void."""
        try:
            line, _address = self._door.accept()
        except BlockingIOError:
            return False
        line.setblocking(True)
        self._life = _LearnerSession(Connection(line.detach()))
        return True

    def _hear(self) -> bool:
        life, heard = self._life, False
        if life is None:
            return False
        try:
            while life.connection.poll():
                place, slot = receive_word(life.connection)
                life.free.setdefault(self._elsewhere.first + place, []).append(slot)
                heard = True
        except (EOFError, OSError):
            self._life = None
        return heard

    def _send(self, node: int, way: _ServerLink) -> bool:
        free = {} if self._life is None else self._life.free
        room = {actor: len(free[actor]) for actor in way.actors if free.get(actor)}
        # Before the learner has published anything there is nothing to act by.
        if not room or (version := self._elsewhere.parameters.version(0)) == 0:
            return False
        parameters: NDArray[Any] | None = None
        if version != way.sent:
            if (message := self._elsewhere.parameters.latest(0)) is None:
                return False
            version, parameters = message.version, message.parameters.numpy()
        way.sending = version
        way.call = self._dispatch(node, RolloutRequest(version, parameters, room))
        return True

    def _unload(self, way: _ServerLink, call: "Future[RolloutBatch | None]") -> None:
        load = None if call.exception() is not None else call.result()
        if load is None:
            way.sent, way.deaths = None, 0
            way.not_before = time.monotonic() + _PAUSE_S
            return
        way.sent = way.sending
        self._elsewhere.deaths[0] += load.deaths - way.deaths
        way.deaths = load.deaths
        first, life = self._elsewhere.first, self._life
        for actor, content in load.rollouts:
            # Whoever asked for it may have been killed meanwhile.
            if life is None or actor not in way.actors or not life.free.get(actor):
                continue
            slot = life.free[actor][-1]
            if self._slots[actor - first].put(slot, content):
                life.free[actor].pop()
                try:
                    send_word(life.connection, actor - first, slot)
                except OSError:
                    self._life = life = None


def make_remote_actors(config: ResolvedConfig, first: int, size: int, path: Path) -> RemoteActors:
    """What a learner shares with its ferry.

    Args:
        config: of the run, resolved.
        first: index of the first actor on another machine.
        size: P, length of a parameter vector.
        path: of the socket between the two.
    """
    simulators = make_simulators(config.env, 1, 1, config.atari)
    algorithm = config.algorithm
    slots = slots_elsewhere(config, partial(build_model, config), simulators, first)
    deaths, parameters = shared_zeros((1,), torch.int64), SharedMailboxes(1, size)
    return RemoteActors(first, slots, algorithm.slots_per_actor, parameters, deaths, str(path))


def make_rollout_client(
    elsewhere: RemoteActors, orders: NodeSpec, others: list[Any]
) -> RolloutClient:
    """The ferry of the learner's node.

    Args:
        elsewhere: what it shares with the learner.
        orders: of the node.
        others: the actors, as Ray has them, of all nodes, by index.
    """

    def dispatch(node: int, errand: RolloutRequest) -> "Future[RolloutBatch | None]":
        load = others[node].load.options(concurrency_group=ROLLOUTS)
        future: Future[RolloutBatch | None] = load.remote(errand).future()
        return future

    away = {node: there for node, there in enumerate(orders.actors) if node != orders.node}
    return RolloutClient(elsewhere, away, dispatch)


def make_rollout_server(config: ResolvedConfig, orders: NodeSpec, size: int) -> RolloutServer:
    """The actors of a node without a learner, with other seeds than they ever had."""
    seeds = [config.seed, orders.node, orders.incarnation, *orders.updates]
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    return RolloutServer(config, orders.node, orders.actors[orders.node], size, seed)
