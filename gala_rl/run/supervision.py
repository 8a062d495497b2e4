"""Supervision loop of a run: polls learners, scales, saves checkpoints, stops, shuts down."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from gala_rl.errors import StorageError, SupervisorFailure
from gala_rl.run.checkpointer import Checkpointer
from gala_rl.run.interrupts import Interrupts
from gala_rl.run.pace import UpdatePace
from gala_rl.run.scaling import ScaledMonitor, Scaling
from gala_rl.run.shared_counters import SharedCounters
from gala_rl.run.status import Observer, RunFailure, RunOutcome, RunStatus

_POLL_EVERY_S = 0.2


class SupervisedRun(Protocol):
    """Interface to the learners of a run, on this machine or on a cluster."""

    @property
    def failure(self) -> RunFailure | None:
        """Why the run has to end; None as long as it can continue."""

    def is_over(self) -> bool:
        """Return whether all learners have ended for good."""

    def poll(self) -> None:
        """Check all learners; called a few times per second. May raise a StorageError."""

    def may_checkpoint(self) -> bool:
        """Return whether a checkpoint may be begun or completed now."""

    def on_shutdown(self) -> None:
        """Collect final checkpoint parts from other machines. May raise a StorageError."""

    def close(self) -> None:
        """Kill learners that are still alive; afterwards no process is left."""

    def status(self, notices: list[str]) -> RunStatus:
        """Return the status, with these notices and the learners' own since the last call."""


class DistanceMonitor(ScaledMonitor, Protocol):
    """Measures distances between learners; both methods may raise a StorageError."""

    def poll(self, total_agent_steps: int) -> None:
        """Measure if due; called a few times per second."""

    def sample(self, total_agent_steps: int) -> None:
        """Measure now."""


class RunSupervisor:
    """Supervises learners until all have ended.

    Args:
        counters: counters through which a stop is requested.
        checkpointer: checkpointer of the run.
        scaling: scaling of the run.
        monitor: monitor of distances between learners; None if they do not gossip.
    """

    def __init__(
        self,
        counters: SharedCounters,
        checkpointer: Checkpointer,
        scaling: Scaling,
        monitor: DistanceMonitor | None,
    ) -> None:
        self._counters, self._checkpointer = counters, checkpointer
        self._scaling, self._monitor = scaling, monitor
        self._pace = UpdatePace(counters, checkpointer.saving_s)
        self._notices: list[str] = []
        self._failure: StorageError | SupervisorFailure | None = None
        self._stop_requested = False
        self._killed = 0

    def stop(self) -> None:
        """Request a stop of all learners after their current update."""
        self._stop_requested = True

    def run(self, learners: SupervisedRun, observe: Observer) -> RunOutcome:
        """Supervise until all learners are done; afterwards no process is left."""
        with Interrupts() as interrupts:
            try:
                self._supervise(learners, observe, interrupts)
                interrupted = interrupts.count > 0
                with self._errors_recorded():
                    learners.on_shutdown()
                    if self._monitor is not None:
                        self._monitor.sample(self._counters.total_agent_steps)
            finally:
                learners.close()
            with self._errors_recorded():
                self._checkpointer.save_final()
            status = self._status_of(learners)
            with self._errors_recorded():
                observe(status)
        # The observer has the news of this status already.
        status = replace(status, notices=[], checkpoints=[])
        return RunOutcome(status, interrupted, self._failure_of(learners), self._killed)

    def _supervise(
        self, learners: SupervisedRun, observe: Observer, interrupts: Interrupts
    ) -> None:
        stop_requested_at: float | None = None
        timeout_s = 0.0
        while not learners.is_over():
            time.sleep(_POLL_EVERY_S)
            with self._errors_recorded():
                learners.poll()
            self._pace.poll()
            if interrupts.count or self._failure_of(learners) is not None:
                self.stop()
            if self._stop_requested and stop_requested_at is None:
                self._counters.request_stop()
                stop_requested_at, timeout_s = time.monotonic(), self._pace.timeout_s()
            with self._errors_recorded():
                if stop_requested_at is None:
                    self._scale_and_save(learners)
                if self._monitor is not None:
                    self._monitor.poll(self._counters.total_agent_steps)
                self._observe(observe, self._status_of(learners))
            if stop_requested_at is not None and time.monotonic() - stop_requested_at > timeout_s:
                self._add_killed_notice(learners.status([]), timeout_s)
                break

    def _observe(self, observe: Observer, status: RunStatus) -> None:
        """Call the observer, and do what it requests."""
        request = observe(status)
        if request == "stop":
            self.stop()
        elif request == "checkpoint":
            self._checkpointer.request()

    def _add_killed_notice(self, status: RunStatus, timeout_s: float) -> None:
        """Note that learners which have not ended by now are killed."""
        self._notices += status.notices
        killed = [str(rank) for rank, alive in enumerate(status.alive) if alive]
        self._killed = len(killed)
        if killed:
            self._notices.append(
                f"killed {'learners' if len(killed) > 1 else 'learner'} {', '.join(killed)}, not "
                f"done {timeout_s:.0f} s after the request to stop: what was learned there since "
                f"the last checkpoint is lost"
            )

    def _scale_and_save(self, learners: SupervisedRun) -> None:
        notices = [self._scaling.poll()]
        if learners.may_checkpoint():
            notices.append(self._checkpointer.poll(self._pace))
        self._notices += [notice for notice in notices if notice is not None]

    def _status_of(self, learners: SupervisedRun) -> RunStatus:
        notices, self._notices = self._notices, []
        return replace(learners.status(notices), checkpoints=self._checkpointer.take_completed())

    def _failure_of(self, learners: SupervisedRun) -> RunFailure | None:
        return learners.failure or self._failure

    @contextmanager
    def _errors_recorded(self) -> Iterator[None]:
        """Record an error of the system as the failure of the run, which then ends cleanly."""
        try:
            yield
        except StorageError as error:
            self._failure = self._failure or error
        except OSError as error:
            failure = SupervisorFailure(f"the supervisor of the learners met an error: {error}")
            failure.__cause__ = error
            self._failure = self._failure or failure
