"""The learner's side of actors on other machines: slots here, which somebody fills for them."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from torch import Tensor

from gala_rl.actors.rollout_slots import RolloutSlots
from gala_rl.gossip import SharedMailboxes


@dataclass(frozen=True)
class RemoteActors:
    """What a learner shares with who fills slots for actors of other machines.

    Attributes:
        first: index of the first of these actors; whoever comes before is on this machine.
        slots: of all of them, one after another.
        slots_each: of each of them.
        parameters: the learner's, as its one mailbox.
        deaths: [1] int64, of actors elsewhere.
        path: of a socket in the file system; each life of a learner has a connection of its own.
    """

    first: int
    slots: RolloutSlots
    slots_each: int
    parameters: SharedMailboxes
    deaths: Tensor
    path: str

    @property
    def by_actor(self) -> list[RolloutSlots]:
        """The slots of each of these actors."""
        return self.slots.split(self.slots_each)


@dataclass
class RolloutFeed:
    """The slots of one actor elsewhere.

    Attributes:
        index: of the actor, among all of the learner's.
        place: among those elsewhere.
        slots: on this machine.
        connection: to who fills them.
        held: slots that are to be filled.
    """

    index: int
    place: int
    slots: RolloutSlots
    connection: Connection
    held: set[int] = field(default_factory=set)

    def give(self, slot: int) -> None:
        """Have a slot filled."""
        self.held.add(slot)
        send_word(self.connection, self.place, slot)


class RolloutFeeds:
    """All actors elsewhere, on one connection; words are as between an actor and its learner.

    Args:
        elsewhere: what is shared.

    Attributes:
        connection: over which slots go to and fro.
        deaths: [1] of these actors.
    """

    def __init__(self, elsewhere: RemoteActors) -> None:
        self.deaths = elsewhere.deaths
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.connect(elsewhere.path)
        self.connection = Connection(line.detach())
        os.set_blocking(self.connection.fileno(), False)
        self._feeds = [
            RolloutFeed(elsewhere.first + place, place, slots, self.connection)
            for place, slots in enumerate(elsewhere.by_actor)
        ]

    def begin(self) -> None:
        """Have all slots filled."""
        for feed in self._feeds:
            for slot in range(feed.slots.count):
                feed.give(slot)

    def hear(self) -> Iterator[tuple[RolloutFeed, int]]:
        """Slots that have been filled since the last call.

        Raises:
            EOFError: when the other side has ended.
            OSError: likewise.
        """
        while self.connection.poll():
            place, slot = receive_word(self.connection)
            feed = self._feeds[place]
            feed.held.remove(slot)
            yield feed, slot


def send_word(connection: Connection, place: int, slot: int) -> None:
    """Hand a slot over.

    Args:
        connection: between learner and who fills slots.
        place: of the actor among those elsewhere.
        slot: of that actor.
    """
    connection.send_bytes(place.to_bytes(2, "little") + bytes([slot]))


def receive_word(connection: Connection) -> tuple[int, int]:
    """Place and slot of a word that is there."""
    word = connection.recv_bytes(3)
    return int.from_bytes(word[:2], "little"), word[2]
