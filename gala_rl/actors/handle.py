"""One actor as its learner sees it: its process, its slots, its messages."""

from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from gala_rl.actors.actor_process import READY
from gala_rl.actors.rollout_slots import RolloutSlots
from gala_rl.errors import ActorFailure
from gala_rl.processes.supervised import RestartBudget, SupervisedProcess


@dataclass
class ActorHandle:
    """An actor, whichever process it is at present.

    Attributes:
        index: index among the learner's actors.
        slots: memory for its rollouts.
        process: its present process.
        connection: connection to that process.
        budget: how often the actor may die.
        is_ready: whether its simulators have been built.
        requested: slots that it is to fill.
        rollouts: number of rollouts that the present process has delivered.
        last_words: the error with which it gave up, if it sent one.
    """

    index: int
    slots: RolloutSlots
    process: SupervisedProcess
    connection: Connection
    budget: RestartBudget
    is_ready: bool = False
    requested: set[int] = field(default_factory=set)
    rollouts: int = 0
    last_words: str = ""

    def request(self, slot: int) -> None:
        """Have a slot filled, unless the actor is not ready: then it gets all slots later."""
        if not self.is_ready:
            return
        self.requested.add(slot)
        try:
            self.connection.send_bytes(bytes([slot]))
        except OSError:
            return  # It is dead, which is noticed when its messages are received.

    def receive(self, message: bytes) -> int | None:
        """Take a message of the actor's.

        Returns:
            The slot that it has filled; None if it has become ready.

        Raises:
            ConnectionError: if it gives up, or if no actor sends such a message.
        """
        self.process.silence.restart()
        if len(message) > 1:
            self.last_words = message.decode(errors="replace")
            raise ConnectionError(f"actor {self.index} gives up")
        slot = message[0] if message else -1
        if slot == READY and not self.is_ready:
            self.is_ready = True
            return None
        if slot not in self.requested:
            raise ConnectionError(f"actor {self.index} does not have slot {slot}")
        self.requested.remove(slot)
        self.rollouts += 1
        return slot

    def is_hung(self, heartbeat: int) -> bool:
        """Whether the actor has simulators to build or slots to fill, and makes no step."""
        is_hung = self.process.is_hung(heartbeat)
        if self.is_ready and not self.requested:
            self.process.silence.restart()
            return False
        return is_hung

    def kill(self) -> None:
        """Kill the process of the actor, if it lives, and close the connection.

        Raises:
            ActorFailure: if the process does not end.
        """
        if not self.process.kill():
            raise ActorFailure(f"actor {self.index} does not end: it may still write to its slots")
        self.connection.close()

    def replace(self, process: SupervisedProcess, connection: Connection) -> None:
        """Continue with a new process; rollouts that the old one delivered stay queued."""
        self.process, self.connection = process, connection
        self.is_ready, self.rollouts, self.last_words = False, 0, ""
        self.requested.clear()
