"""A run on this machine: one process per learner, supervised until all have ended."""

import torch

from gala_rl.agent import InitialParameters
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.checkpointer import Checkpointer
from gala_rl.run.consensus_monitor import ConsensusMonitor
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor
from gala_rl.run.run_state import RunState
from gala_rl.run.scaling import LocalMembers, Scaling
from gala_rl.run.shared_counters import LearnerCounter
from gala_rl.run.status import Observer, RunFailure, RunOutcome, RunStatus
from gala_rl.run.supervision import RunSupervisor


class LocalRun:
    """Runs learners in processes on this machine; a `SupervisedRun`.

    Args:
        config: resolved config of the run.
        folder: folder of the run, already created.
        device: torch device of the learners.
        initial: parameters of all learners at the start.
        checkpoint: checkpoint to continue from; None for a new run.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        device: torch.device,
        initial: InitialParameters,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._state = state = RunState(config, folder, initial, checkpoint)
        counters = self._counters = state.counters
        self._monitor: ConsensusMonitor | None = None
        if state.journal is not None:
            self._monitor = ConsensusMonitor(
                config,
                folder,
                initial.learned,
                read=state.mailboxes.lend,
                gradients=list(counters.gradients),
                journal=state.journal.reader(),
                checkpoint=checkpoint,
            )
        path = None if checkpoint is None else checkpoint.path

        def spec(rank: int) -> LearnerSpec:
            return state.learner_spec(rank, str(device), path)

        self._learners = LearnerSupervisor(map(spec, range(config.learners)))
        self._supervisor = RunSupervisor(
            counters,
            Checkpointer(config, folder, counters, state.coupling, checkpoint is not None),
            Scaling(
                config,
                folder,
                counters,
                LocalMembers(counters, self._learners, spec),
                self._monitor,
            ),
            self._monitor,
        )

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Current process ids, by rank."""
        return self._learners.process_ids

    @property
    def agent_steps(self) -> list[int]:
        """Agent steps so far, per learner."""
        return self._counters.column(LearnerCounter.AGENT_STEPS)

    def stop(self) -> None:
        """Request a stop of all learners after their current update; observers may call this."""
        self._supervisor.stop()

    def run(self, observe: Observer) -> RunOutcome:
        """Supervise until all learners are done; afterwards no process is left."""
        return self._supervisor.run(self, observe)

    @property
    def failure(self) -> RunFailure | None:
        """See `SupervisedRun`."""
        return self._learners.failure

    def is_over(self) -> bool:
        """See `SupervisedRun`."""
        return self._learners.done

    def poll(self) -> None:
        """See `SupervisedRun`."""
        self._learners.poll()
        if self._state.faults is not None:
            self._state.faults.continue_stopped(enumerate(self._learners.process_ids))

    def may_checkpoint(self) -> bool:
        """See `SupervisedRun`; a leaving learner may be writing its part of a checkpoint."""
        return self._learners.all_ended_from(self._counters.learners)

    def on_shutdown(self) -> None:
        """See `SupervisedRun`; nothing to collect: all is in shared memory and the run folder."""

    def close(self) -> None:
        """See `SupervisedRun`."""
        self._learners.kill_all()
        for shared in (self._state.coupling, self._monitor):
            if shared is not None:
                shared.close()

    def status(self, notices: list[str]) -> RunStatus:
        """See `SupervisedRun`."""
        notices = notices + self._learners.take_notices()
        for monitor in (self._state.faults, self._monitor):
            notices += [] if monitor is None else monitor.take_notices()
        return RunStatus(
            agent_steps=self.agent_steps,
            updates=self._counters.column(LearnerCounter.UPDATES),
            alive=self._learners.alive(self._counters.learners),
            restarts=self._learners.restarts(self._counters.learners_ever),
            notices=notices,
            consensus=None if self._monitor is None else self._monitor.latest,
        )
