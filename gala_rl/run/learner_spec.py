"""What a learner's process is started with, and what it tells its supervisor on the way."""

from dataclasses import dataclass, field
from pathlib import Path

from gala_rl.actors import RemoteActors
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.coupling import Rendezvous, SharedParameters
from gala_rl.envs.registration import RegistryEntries
from gala_rl.errors import StorageError
from gala_rl.faults.clock import FaultClock
from gala_rl.gossip import Message, SharedMailboxes
from gala_rl.gossip.journal import Journal
from gala_rl.processes.heartbeat import beat
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.coupling import SharedCoupling
from gala_rl.run.learner_run import LearnerRun
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

FINAL = "final"
"""Name of the checkpoint to which every learner contributes when it ends."""


@dataclass(frozen=True)
class LearnerSpec:
    """Everything a learner's process is started with.

    Attributes:
        config: of the run, resolved.
        folder: of the run.
        rank: of the learner.
        device: name of the torch device.
        mailboxes: gossip between the learners.
        board: numbers shared with the supervisor.
        journal: what the learners do to their parameters, for the supervisor; None if they don't
            gossip.
        common: what the learners share if they don't gossip.
        faults: when faults are to happen, and who is stopped by one; None if there is no plan.
        checkpoint: where to continue from; None for a new run or a restart.
        donors: ranks whose parameters a restarted learner may take over, best first.
        joins: whether the run goes on already; it begins with what a donor has sent or not at all.
        elsewhere: its actors on other machines, if it has any.
        registered: environments that only the program knows.
    """

    config: ResolvedConfig
    folder: RunFolder
    rank: int
    device: str
    mailboxes: SharedMailboxes
    board: SharedCounters
    journal: Journal | None
    common: SharedCoupling | None
    faults: FaultClock | None
    checkpoint: Path | None = None
    donors: tuple[int, ...] = ()
    joins: bool = False
    elsewhere: RemoteActors | None = None
    registered: RegistryEntries = field(default_factory=RegistryEntries)

    @property
    def is_member(self) -> bool:
        """Whether the learner is one of those that the run goes on with."""
        return self.rank < self.board.learners

    def advance(self, run: LearnerRun, total_agent_steps: int) -> None:
        """One step of the learner; the supervisor sees that it lives, and how far it is."""
        run.advance(total_agent_steps)
        self.tell_counters(run)
        if run.write_row_if_due(self.total_agent_steps(run)):
            self._publish_state(run)

    def total_agent_steps(self, run: LearnerRun) -> int:
        """Of all learners together; replicas have all made as many, whoever has told so yet."""
        if isinstance(self.common, Rendezvous):
            return run.agent.agent_steps * self.config.learners
        return self.board.total_agent_steps

    def tell_counters(self, run: LearnerRun) -> None:
        """Show the supervisor how far the learner is."""
        self.board.set(self.rank, LearnerCounter.UPDATES, run.agent.updates)
        self.board.set(self.rank, LearnerCounter.AGENT_STEPS, run.agent.agent_steps)
        beat()

    def save_if_wanted(self, run: LearnerRun, wanted: int) -> None:
        """Contribute to the checkpoint of that number, once, unless it has been given up."""
        written, board = self.board.get(self.rank, LearnerCounter.CHECKPOINT_WRITTEN), self.board
        if wanted <= written or not board.awaits_checkpoint(wanted):
            return
        try:
            self.write_part(run, str(wanted))
        except StorageError:
            # What was written of one that is given up vanishes, under whoever still writes.
            if board.awaits_checkpoint(wanted):
                raise
        else:
            board.set(self.rank, LearnerCounter.CHECKPOINT_WRITTEN, wanted)

    def write_part(self, run: LearnerRun, request: str) -> None:
        """Write the learner's part of a checkpoint in the making."""
        partial = checkpoint.partial_folder(self.folder.checkpoints, request)
        run.save(partial, self.mailboxes.latest(self.rank))

    def show_optimizer(self, run: LearnerRun) -> None:
        """Leave the state of the learner's own optimiser for one that starts over."""
        if not isinstance(self.common, SharedParameters):
            self.board.optimizer_states[self.rank].copy_(run.agent.learner.optimizer.state)

    def _publish_state(self, run: LearnerRun) -> None:
        """Leave in shared memory what a learner that starts over, and whoever watches, need."""
        if isinstance(self.common, SharedParameters):
            return
        self.show_optimizer(run)
        self.board.gradients[self.rank].copy_(run.agent.learner.flat.grads)
        if not run.agent.gossip.has_neighbours:
            # Nobody is sent anything, so this learner's own parameters are nowhere else.
            self.mailboxes.write(Message(self.rank, run.agent.updates, run.agent.gossip.parameters))
