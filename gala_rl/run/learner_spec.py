"""Arguments of a learner's process."""

from dataclasses import dataclass, field
from pathlib import Path

from gala_rl.actors import RemoteActors
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs.registration import RegistryEntries
from gala_rl.faults.clock import FaultClock
from gala_rl.gossip import SharedMailboxes
from gala_rl.gossip.journal import Journal
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.coupling import SharedCoupling
from gala_rl.run.shared_counters import SharedCounters

FINAL = "final"
"""Name of the checkpoint to which every learner contributes when it ends."""


@dataclass(frozen=True)
class LearnerSpec:
    """Arguments of a learner's process.

    Attributes:
        config: configuration of the run.
        folder: folder of the run.
        rank: rank of the learner.
        device: name of its torch device.
        mailboxes: messages between the learners.
        counters: numbers shared with the supervisor.
        journal: log of changes to parameters, read by the supervisor; None without gossip.
        shared_coupling: what learners share instead of gossiping; None with gossip.
        faults: schedule of injected faults; None without a fault plan.
        checkpoint: checkpoint to continue from; None for a new run or a restart.
        donors: ranks whose parameters a restarted learner may take over, best first.
        is_joining: whether it joins a run in progress: it starts from a donor's state or fails.
        remote_actors: its actors on other machines; None without any.
        registry: environments that only the main program has registered.
    """

    config: ResolvedConfig
    folder: RunFolder
    rank: int
    device: str
    mailboxes: SharedMailboxes
    counters: SharedCounters
    journal: Journal | None
    shared_coupling: SharedCoupling | None
    faults: FaultClock | None
    checkpoint: Path | None = None
    donors: tuple[int, ...] = ()
    is_joining: bool = False
    remote_actors: RemoteActors | None = None
    registry: RegistryEntries = field(default_factory=RegistryEntries)

    @property
    def is_member(self) -> bool:
        """Whether the learner is a member of the run: not, if it has to leave by scaling."""
        return self.rank < self.counters.learners
