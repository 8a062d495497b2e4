"""The learner's handle to one actor: its process, its slots and its connection."""

from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from gala_rl.actors.actor_process import READY
from gala_rl.actors.rollout_slots import RolloutSlots
from gala_rl.errors import ActorFailure
from gala_rl.processes.supervised import RestartBudget, SupervisedProcess


@dataclass
class ActorHandle:
    """An actor of the learner, across restarts of its process.

    Attributes:
        index: index among the learner's actors.
        slots: memory for its rollouts.
        process: its current process.
        connection: connection to the process.
        budget: deaths so far, and how many are allowed.
        is_ready: whether its simulators have been built.
        requested: slots that have been requested and not yet filled.
        rollouts: number of rollouts that the current process has delivered.
        error_text: the error that it sent before it exited, if any.
    """

    index: int
    slots: RolloutSlots
    process: SupervisedProcess
    connection: Connection
    budget: RestartBudget
    is_ready: bool = False
    requested: set[int] = field(default_factory=set)
    rollouts: int = 0
    error_text: str = ""

    def request(self, slot: int) -> None:
        """Request a rollout in a slot; an actor that is not ready gets all slots later."""
        if not self.is_ready:
            return
        self.requested.add(slot)
        try:
            self.connection.send_bytes(bytes([slot]))
        except OSError:
            return  # It is dead; the next receive detects that.

    def receive(self, message: bytes) -> int | None:
        """Process a message from the actor.

        Returns:
            The slot that it has filled; None if it has become ready.

        Raises:
            ConnectionError: if it reports an error, or if the message is invalid.
        """
        self.process.silence.restart()
        if len(message) > 1:
            self.error_text = message.decode(errors="replace")
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
        """Return whether the actor has been silent for too long while it had work to do."""
        is_hung = self.process.is_hung(heartbeat)
        if self.is_ready and not self.requested:
            self.process.silence.restart()
            return False
        return is_hung

    def kill(self) -> None:
        """Kill the process of the actor, if it is alive, and close the connection.

        Raises:
            ActorFailure: if the process does not end.
        """
        if not self.process.kill():
            raise ActorFailure(f"actor {self.index} does not end: it may still write to its slots")
        self.connection.close()

    def replace(self, process: SupervisedProcess, connection: Connection) -> None:
        """Continue with a new process; rollouts that the old one delivered stay queued."""
        self.process, self.connection = process, connection
        self.is_ready, self.rollouts, self.error_text = False, 0, ""
        self.requested.clear()
