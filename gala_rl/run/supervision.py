"""What whoever supervises learners does until all have ended: look, save, tell, stop, end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import StorageError, SupervisorFailure
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.run.checkpointer import Checkpointer
from gala_rl.run.interrupts import Interrupts
from gala_rl.run.pace import UpdatePace
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters
from gala_rl.run.status import Observer, RunFailure, RunOutcome, RunStatus

_LOOK_EVERY_S = 0.2


class SupervisedRun(Protocol):
    """The learners of a run, wherever they are."""

    @property
    def failure(self) -> RunFailure | None:
        """Why the run has to be given up; None as long as it has not."""

    def is_over(self) -> bool:
        """Whether there is nobody left to wait for."""

    def look_after(self) -> None:
        """See how they are; called a few times a second. May raise a StorageError."""

    def change(self) -> str | None:
        """What happens only until they are asked to stop; returns what there is to tell."""

    def may_save(self) -> bool:
        """Whether a checkpoint may be begun or completed now."""

    def follow(self) -> None:
        """Measure how far they are apart, if it is time. May raise a StorageError."""

    def take_leave(self) -> None:
        """Take what they leave, before who is left is ended. May raise a StorageError."""

    def end(self) -> None:
        """Kill who still lives; no process is left."""

    def status(self, notices: list[str]) -> RunStatus:
        """How they are, with what has happened since the last call and what there is to tell."""


class RunSupervisor:
    """Goes on looking after learners until all have ended.

    Args:
        board: where they are asked to stop.
        saving: of their checkpoints.
    """

    def __init__(self, board: SharedCounters, saving: Checkpointer) -> None:
        self._board, self._saving, self._pace = board, saving, UpdatePace(board)
        self._notices: list[str] = []
        self._failure: StorageError | SupervisorFailure | None = None
        self._stop_wanted = False
        self._killed = 0

    def stop(self) -> None:
        """Ask all learners to end after the update they are in."""
        self._stop_wanted = True

    def run(self, learners: SupervisedRun, observe: Observer) -> RunOutcome:
        """Watch until all learners are done; always ends with no process left."""
        with Interrupts() as interrupts:
            try:
                self._watch(learners, observe, interrupts)
                interrupted = interrupts.count > 0
                with self._ending_in_order():
                    learners.take_leave()
            finally:
                learners.end()
            status = self._status_of(learners)
            with self._ending_in_order():
                self._saving.save_final()
                observe(status)
        return RunOutcome(status, interrupted, self._failure_of(learners), self._killed)

    def _watch(self, learners: SupervisedRun, observe: Observer, interrupts: Interrupts) -> None:
        stop_asked_at: float | None = None
        patience_s = 0.0
        while not learners.is_over():
            time.sleep(_LOOK_EVERY_S)
            with self._ending_in_order():
                learners.look_after()
            self._pace.look()
            if interrupts.count or self._failure_of(learners) is not None:
                self.stop()
            if self._stop_wanted and stop_asked_at is None:
                self._board.ask_to_stop()
                stop_asked_at, patience_s = time.monotonic(), self._pace.patience_s()
            with self._ending_in_order():
                if stop_asked_at is None:
                    self._change_and_save(learners)
                learners.follow()
                observe(self._status_of(learners))
            if stop_asked_at is not None and time.monotonic() - stop_asked_at > patience_s:
                self._tell_of_killed(learners.status([]), patience_s)
                break

    def _tell_of_killed(self, status: RunStatus, patience_s: float) -> None:
        """Say that learners which have not ended by now are killed."""
        self._notices += status.notices
        killed = [str(rank) for rank, alive in enumerate(status.alive) if alive]
        self._killed = len(killed)
        if killed:
            self._tell(
                f"killed {'learners' if len(killed) > 1 else 'learner'} {', '.join(killed)}, not "
                f"done {patience_s:.0f} s after the request to stop: what was learned there since "
                f"the last checkpoint is lost"
            )

    def _change_and_save(self, learners: SupervisedRun) -> None:
        self._tell(learners.change())
        if learners.may_save():
            self._tell(self._saving.save_regularly(self._pace))

    def _tell(self, notice: str | None) -> None:
        if notice is not None:
            self._notices.append(notice)

    def _status_of(self, learners: SupervisedRun) -> RunStatus:
        notices, self._notices = self._notices, []
        return learners.status(notices)

    def _failure_of(self, learners: SupervisedRun) -> RunFailure | None:
        return learners.failure or self._failure

    @contextmanager
    def _ending_in_order(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            self._failure = self._failure or error
        except OSError as error:
            failure = SupervisorFailure(f"the supervisor of the learners met an error: {error}")
            failure.__cause__ = error
            self._failure = self._failure or failure


def continue_counters(board: SharedCounters, config: ResolvedConfig, start: Checkpoint) -> None:
    """Set the board to what all learners, those that have left too, had made at a checkpoint."""
    made = start.manifest["learner_agent_steps"]
    board.set_learners(len(made))
    board.set_learners(config.learners)
    for rank, agent_steps in enumerate(made):
        board.set(rank, LearnerCounter.AGENT_STEPS, agent_steps)
        board.set(rank, LearnerCounter.UPDATES, agent_steps // config.update_agent_steps)
