"""The learner's side of actors on other machines: remote calls fill slots on this machine."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe

import numpy as np
from numpy.typing import NDArray

from gala_rl.actors.rollout_slots import RolloutSlots
from gala_rl.gossip import SharedMailboxes

_RETRY_S = 0.5
"""Pause after a call that failed."""


@dataclass(frozen=True)
class RolloutRequest:
    """Request of a learner to a machine that runs some of its actors.

    Attributes:
        version: version of the parameters: the number of times they were published.
        parameters: [P] float32; None if that machine already has this version.
        room: the most rollouts to return per actor, by index.
        agent_steps: agent steps of all learners so far, on which exploration may depend.
    """

    version: int
    parameters: NDArray[np.float32] | None
    room: dict[int, int]
    agent_steps: int = 0


@dataclass(frozen=True)
class RolloutBatch:
    """Response to a `RolloutRequest`.

    Attributes:
        rollouts: index of the actor and content of the slot, per rollout.
        deaths: number of deaths of actors on that machine since its actors were created.
    """

    rollouts: list[tuple[int, NDArray[np.uint8]]]
    deaths: int


CallNode = Callable[[int, RolloutRequest], "Future[RolloutBatch | None]"]
"""(node, request) → future of the call to that node; its result is None if no actors are ready."""


@dataclass(frozen=True)
class RemoteActors:
    """A learner's actors on other machines; passed to its process as an argument.

    Attributes:
        by_node: indices of the actors on each of these machines.
        connect: called in the learner's process; returns the function that calls a node.
    """

    by_node: Mapping[int, range]
    connect: Callable[[], CallNode]

    @property
    def indices(self) -> range:
        """Indices of all remote actors; actors with lower indices are on the learner's machine."""
        return range(
            min(actors.start for actors in self.by_node.values()),
            max(actors.stop for actors in self.by_node.values()),
        )


@dataclass
class RemoteActorHandle:
    """Slots on this machine for one actor on another machine.

    Attributes:
        index: index among the learner's actors.
        slots: its slots on this machine.
        free: numbers of the slots that wait for a rollout.
    """

    index: int
    slots: RolloutSlots
    free: list[int] = field(default_factory=list)

    def request(self, slot: int) -> None:
        """Request a rollout in a slot; one of the next calls fills it."""
        self.free.append(slot)


@dataclass
class _Link:
    """State of the calls to one machine.

    Attributes:
        sent: version of the parameters that the machine has.
        sending: version that the call in progress sends.
        deaths: deaths of actors, from the latest response.
        not_before: earliest time of the next call.
    """

    actors: range
    call: "Future[RolloutBatch | None] | None" = None
    sent: int | None = None
    sending: int = 0
    deaths: int = 0
    not_before: float = 0.0


class RemoteRollouts:
    """Fills slots with the rollouts of actors on other machines.

    At most one call per machine is in progress, and it requests no more rollouts than there are
    free slots. So a slow link or a dead machine delays only the rollouts of its own actors.

    Args:
        remote: the actors.
        slots: slots per actor.

    Attributes:
        connection: readable once a call has ended.
        deaths: number of deaths of these actors.
    """

    def __init__(self, remote: RemoteActors, slots: list[RolloutSlots]) -> None:
        self.connection, self._wake = Pipe(duplex=False)
        self.deaths = 0
        self._call = remote.connect()
        self._links = {node: _Link(actors) for node, actors in remote.by_node.items()}
        self._handles = {
            index: RemoteActorHandle(index, own)
            for index, own in zip(remote.indices, slots, strict=True)
        }

    def request_all(self) -> None:
        """Request a rollout in every slot."""
        for handle in self._handles.values():
            handle.free = list(range(handle.slots.count))

    def exchange(
        self, parameters: SharedMailboxes, agent_steps: int
    ) -> Iterator[tuple[RemoteActorHandle, int]]:
        """Receive the results of ended calls and start new ones; never wait.

        Args:
            parameters: a single mailbox, with the parameters of the learner.
            agent_steps: agent steps of all learners so far.

        Yields:
            Actor and number of each slot filled since the last `exchange`.
        """
        while self.connection.poll():
            self.connection.recv_bytes()
        for node, link in self._links.items():
            if link.call is not None and link.call.done():
                yield from self._take(link, link.call)
                link.call = None
            if link.call is None and time.monotonic() >= link.not_before:
                self._request(node, link, parameters, agent_steps)

    def _request(
        self, node: int, link: _Link, parameters: SharedMailboxes, agent_steps: int
    ) -> None:
        room = {actor: len(free) for actor in link.actors if (free := self._handles[actor].free)}
        # Actors cannot act before the learner has published parameters.
        if not room or not (version := parameters.version(0)):
            return
        values: NDArray[np.float32] | None = None
        if version != link.sent and (message := parameters.latest(0)) is not None:
            values = message.parameters.numpy()
        link.sending = version
        link.call = self._call(node, RolloutRequest(version, values, room, agent_steps))
        link.call.add_done_callback(lambda _call: self._wake.send_bytes(b"!"))

    def _take(
        self, link: _Link, call: "Future[RolloutBatch | None]"
    ) -> Iterator[tuple[RemoteActorHandle, int]]:
        batch = None if call.exception() is not None else call.result()
        if batch is None:
            link.sent, link.deaths = None, 0
            link.not_before = time.monotonic() + _RETRY_S
            return
        link.sent = link.sending
        self.deaths += batch.deaths - link.deaths
        link.deaths = batch.deaths
        for actor, content in batch.rollouts:
            handle = self._handles[actor] if actor in link.actors else None
            if handle and handle.free and handle.slots.put(handle.free[-1], content):
                yield handle, handle.free.pop()
