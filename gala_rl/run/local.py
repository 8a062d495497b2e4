"""A run on this machine: what learners share is made, a crew started, and all seen to its end."""

from typing import TypeVar

import torch

from gala_rl.agent import InitialParameters, message_size
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.monitor import FaultMonitor
from gala_rl.gossip import SharedMailboxes
from gala_rl.gossip.journal import Journal
from gala_rl.graph import largest_in_degree
from gala_rl.learners.optimizers import state_size
from gala_rl.methods import capacity
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.checkpointer import Checkpointer
from gala_rl.run.consensus_monitor import ConsensusMonitor, make_consensus_monitor
from gala_rl.run.coupling import make_shared_coupling
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.learner_supervisor import LearnerSupervisor
from gala_rl.run.scaling import LocalScaling
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters
from gala_rl.run.status import Observer, RunFailure, RunOutcome, RunStatus
from gala_rl.run.supervision import RunSupervisor, continue_counters

_Value = TypeVar("_Value")


class LocalRun:
    """Supervises the learners of a run on this machine.

    Args:
        config: of the run, resolved.
        folder: of the run, created.
        device: where learners learn.
        beginning: what all of them begin with.
        start: what to continue from.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        device: torch.device,
        beginning: InitialParameters,
        start: Checkpoint | None,
    ) -> None:
        count, size = config.learners, beginning.parameters.numel()
        room = capacity(config)
        mailboxes = SharedMailboxes(room, message_size(config, size))
        self._board = SharedCounters(count, size, state_size(config.algorithm, size), room)
        self._common = make_shared_coupling(config, folder, beginning, start)
        journal = None
        if room > 1 and self._common is None:
            journal = Journal(room, largest_in_degree(config, room))
        self._watch: ConsensusMonitor | None = None
        if journal is not None:
            self._watch = make_consensus_monitor(
                config,
                folder,
                beginning.learned,
                journal.reader(),
                mailboxes.lend,
                list(self._board.gradients),
            )
        if start is not None:
            continue_counters(self._board, config, start)
            if self._watch is not None:
                self._watch.begin_apart(start)
        faults = None if config.fault_plan is None else FaultClock(room)
        self._faults = None if faults is None else FaultMonitor(faults, folder.faults_file)
        for rank in range(count, room):
            mailboxes.set_down(rank, True)

        def assign(rank: int) -> LearnerSpec:
            return LearnerSpec(
                config=config,
                folder=folder,
                rank=rank,
                device=str(device),
                mailboxes=mailboxes,
                counters=self._board,
                journal=journal,
                shared_coupling=self._common,
                faults=faults,
                checkpoint=None if start is None else start.path,
            )

        self._crew = LearnerSupervisor(map(assign, range(count)))
        self._scaling = LocalScaling(config, folder, self._board, self._crew, self._watch, assign)
        saving = Checkpointer(config, folder, self._board, self._common, start is not None)
        self._supervision = RunSupervisor(self._board, saving)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the learners as they are now, by rank; one that is restarted gets another."""
        return self._crew.process_ids

    @property
    def agent_steps(self) -> list[int]:
        """Made by each learner so far."""
        return self._board.column(LearnerCounter.AGENT_STEPS)

    def stop(self) -> None:
        """Ask all learners to end after the update they are in; may be called by the observer."""
        self._supervision.stop()

    def run(self, observe: Observer) -> RunOutcome:
        """Watch until all learners are done; always ends with no process left."""
        return self._supervision.run(self, observe)

    @property
    def failure(self) -> RunFailure | None:
        """See `Supervised`."""
        return self._crew.failure

    def is_over(self) -> bool:
        """See `Supervised`."""
        return self._crew.done

    def look_after(self) -> None:
        """See `Supervised`."""
        self._crew.poll()
        if self._faults is not None:
            self._faults.wake(enumerate(self._crew.process_ids))

    def change(self) -> str | None:
        """See `Supervised`: learners may join or leave."""
        return self._scaling.look()

    def may_save(self) -> bool:
        """See `Supervised`: who leaves may be writing its part of a checkpoint."""
        return self._crew.all_ended_from(self._board.learners)

    def follow(self) -> None:
        """See `Supervised`."""
        if self._watch is not None:
            self._watch.follow(self._board.total_agent_steps)

    def take_leave(self) -> None:
        """See `Supervised`."""
        if self._watch is not None:
            self._watch.look(self._board.total_agent_steps)

    def end(self) -> None:
        """See `Supervised`."""
        self._crew.kill_all()
        for shared in (self._common, self._watch):
            if shared is not None:
                shared.close()

    def status(self, notices: list[str]) -> RunStatus:
        """See `Supervised`."""
        notices = notices + self._crew.take_notices()
        for watch in (self._faults, self._watch):
            notices += [] if watch is None else watch.take_notices()
        members, ever = self._board.learners, self._board.learners_ever
        return RunStatus(
            agent_steps=self.agent_steps,
            updates=self._board.column(LearnerCounter.UPDATES),
            alive=_first(members, self._crew.alive, False),
            restarts=_first(ever, self._crew.restarts, 0),
            notices=notices,
            consensus=None if self._watch is None else self._watch.latest,
        )


def _first(count: int, values: list[_Value], missing: _Value) -> list[_Value]:
    """The first so many; there are fewer while learners are about to be started."""
    return (values + [missing] * count)[:count]
