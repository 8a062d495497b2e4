"""One actor as its learner sees it: its process, its slots, its signs of life."""

from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from gala_rl.actors.rollout_slots import RolloutSlots
from gala_rl.errors import ActorFailure
from gala_rl.processes.spawn import end


@dataclass
class ActorHandle:
    """The learner's view of one actor, whichever process it is at present.

    Attributes:
        held: slots in the actor's hands.
        silent_s: for how long it has had work, or built simulators, without a sign of life.
        beat: its sign of life, as last seen.
        last_words: why it gave up, if it said so.
    """

    index: int
    slots: RolloutSlots
    process: BaseProcess
    connection: Connection
    silent_s: float = 0.0
    beat: int = 0
    ready: bool = False
    held: set[int] = field(default_factory=set)
    rollouts: int = 0
    deaths: int = 0
    deaths_in_a_row: int = 0
    last_words: str = ""

    def listen_for(self, beat: int, passed_s: float) -> float:
        """Take in the actor's newest sign of life; returns for how long it has given none.

        Args:
            beat: the sign of life, which differs from the last if there was one since.
            passed_s: seconds since the last look.
        """
        has_work = bool(self.held) or not self.ready
        self.silent_s = self.silent_s + passed_s if has_work and beat == self.beat else 0.0
        self.beat = beat
        return self.silent_s if has_work else float("-inf")

    def replace(self, process: BaseProcess, connection: Connection) -> None:
        """Go on with a new process; what the old one announced stays in the queue."""
        self.process, self.connection = process, connection
        self.silent_s, self.ready, self.rollouts = 0.0, False, 0
        self.last_words = ""
        self.held.clear()

    def end(self) -> None:
        """Kill the actor and wait for its end.

        Raises:
            ActorFailure: when it does not end.
        """
        if not end(self.process):
            raise ActorFailure(f"actor {self.index} does not end: it may still write to its slots")
        self.connection.close()
