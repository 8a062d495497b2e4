"""Creates what the learners of one machine share, before the first of them starts.

A local run owns one `RunState`, and so does each node of a cluster. A serial run creates the same
parts, except for the memory that only processes need.
"""

from pathlib import Path

from gala_rl.actors import RemoteActors
from gala_rl.agent import InitialParameters, message_size
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.coupling.gradients import LOOPBACK
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.log import FaultMonitor
from gala_rl.gossip import SharedMailboxes
from gala_rl.gossip.journal import Journal
from gala_rl.graph import max_in_degree
from gala_rl.learners.optimizers import state_size
from gala_rl.methods.resolving import capacity
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.coupling import SharedCoupling, make_shared_coupling
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.shared_counters import SharedCounters


class RunState:
    """Memory that the learners' processes share with their supervisor.

    Args:
        config: resolved config of the run.
        folder: folder of the run, or a node's copy of it.
        initial: parameters of all learners at the start.
        checkpoint: checkpoint to continue from; None for a new run.
        faults: monitor of the fault plan; None: create one if there is a plan.
        address: address at which this machine's replicas accept connections.

    Attributes:
        config: as given.
        folder: as given.
        mailboxes: latest message per learner.
        counters: progress per learner, and the supervisor's requests.
        coupling: what learners share instead of gossiping; None if they gossip.
        journal: updates and mixes per learner; None without gossip.
        faults: monitor of the fault plan; None without a plan.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        initial: InitialParameters,
        checkpoint: Checkpoint | None = None,
        *,
        faults: FaultMonitor | None = None,
        address: str = LOOPBACK,
    ) -> None:
        self.config, self.folder = config, folder
        size, room = initial.parameters.numel(), capacity(config)
        optimizer_size = state_size(config.algorithm, size)
        self.mailboxes = SharedMailboxes(room, message_size(config, size))
        self.counters = SharedCounters(config.learners, size, optimizer_size, room)
        self.coupling = make_shared_coupling(config, folder, initial, checkpoint, address)
        self.journal = make_journal(config, self.coupling)
        self.faults = faults or make_fault_monitor(config, folder)
        self.restore_progress(config.learners, *progress_at(checkpoint, config))

    def restore_progress(self, learners: int, agent_steps: list[int], updates: list[int]) -> None:
        """Set the number of learners, and the progress that they continue from.

        Args:
            learners: number of members.
            agent_steps: per learner that is or has been a member.
            updates: likewise.
        """
        self.counters.restore(learners, agent_steps, updates)
        for rank in range(self.mailboxes.learners):
            self.mailboxes.set_down(rank, rank >= learners)

    def learner_spec(
        self,
        rank: int,
        device: str,
        checkpoint: Path | None,
        remote_actors: RemoteActors | None = None,
    ) -> LearnerSpec:
        """Return the arguments of a learner's process.

        Args:
            rank: rank of the learner.
            device: name of the torch device.
            checkpoint: folder of the checkpoint to continue from; None for a new run.
            remote_actors: the learner's actors on other machines, if it has any.
        """
        return LearnerSpec(
            config=self.config,
            folder=self.folder,
            rank=rank,
            device=device,
            mailboxes=self.mailboxes,
            counters=self.counters,
            journal=self.journal,
            shared_coupling=self.coupling,
            faults=None if self.faults is None else self.faults.clock,
            checkpoint=checkpoint,
            remote_actors=remote_actors,
        )


def make_journal(config: ResolvedConfig, coupling: SharedCoupling | None) -> Journal | None:
    """Create the journal of learners that gossip; None for others, and for a single learner."""
    room = capacity(config)
    if room == 1 or coupling is not None:
        return None
    return Journal(room, max_in_degree(config, room))


def make_fault_monitor(config: ResolvedConfig, folder: RunFolder) -> FaultMonitor | None:
    """Create the monitor of a run's fault plan; None without a plan."""
    if config.fault_plan is None:
        return None
    return FaultMonitor(FaultClock(capacity(config)), folder.faults_file)


def progress_at(
    checkpoint: Checkpoint | None, config: ResolvedConfig
) -> tuple[list[int], list[int]]:
    """Return agent steps and updates per learner at a checkpoint, former members included."""
    if checkpoint is None:
        return [0] * config.learners, [0] * config.learners
    made: list[int] = checkpoint.manifest["learner_agent_steps"]
    return made, [steps // config.update_agent_steps for steps in made]
