"""Checkpoints of a run: requests one when due, completes it once all members have written parts."""

import time
from pathlib import Path

from gala_rl.checks.replay import saved_bytes
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.coupling import SharedParameters
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.coupling import SharedCoupling
from gala_rl.run.learner_spec import FINAL
from gala_rl.run.pace import UpdatePace
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_SLOW_DISK_BYTES_PER_S = 20 * 2**20


class Checkpointer:
    """Requests parts of checkpoints from learners and completes the checkpoints.

    Args:
        config: resolved config of the run.
        folder: folder of the run; partial checkpoints of an earlier attempt are removed.
        counters: counters through which learners get requests and answer them.
        coupling: state shared by learners that do not gossip; None if they gossip.
        has_checkpoint: whether a checkpoint exists; else one is due after the first update.

    Attributes:
        saving_s: how long learners may take to write their replays, besides what updates take.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        counters: SharedCounters,
        coupling: SharedCoupling | None,
        has_checkpoint: bool,
    ) -> None:
        self._config, self._counters, self._coupling = config, counters, coupling
        self._folder = folder.checkpoints
        self._last = time.monotonic()
        self._number = 0
        self._requested_at: float | None = None
        self._timeout_s = 0.0
        self._has_checkpoint = has_checkpoint
        self._missing = 0
        self._is_requested = False
        self._completed: list[Path] = []
        self.saving_s = saved_bytes(config) / _SLOW_DISK_BYTES_PER_S
        self._discard_partial()

    def poll(self, pace: UpdatePace) -> str | None:
        """Request a checkpoint if one is due; complete or abandon the one in progress.

        Must not be called while a learner leaves the run: it may be writing its part.

        Args:
            pace: determines how long to wait for the next part.

        Returns:
            A notice if the checkpoint was abandoned.

        Raises:
            StorageError: when a checkpoint cannot be written.
        """
        now, notice = time.monotonic(), None
        if self._requested_at is None:
            if self._is_due(now):
                # A learner may have written to an abandoned checkpoint since it was discarded.
                self._discard_partial(but=FINAL)
                self._number += 1
                self._is_requested = False
                self._requested_at, self._missing = now, self._counters.learners
                self._timeout_s = pace.timeout_s()
                self._counters.request_checkpoint(self._number)
            return None
        partial = checkpoint.partial_folder(self._folder, str(self._number))
        written = self._counters.members(LearnerCounter.CHECKPOINT_WRITTEN)
        missing = sum(number < self._number for number in written)
        if missing < self._missing:
            # Restart the timeout: parts from other machines arrive one by one, each perhaps late.
            self._missing, self._requested_at = missing, now
        if missing and now - self._requested_at <= self._timeout_s:
            return None
        if missing:
            notice = "a checkpoint was given up: a learner did not contribute to it"
            self._counters.cancel_checkpoint()
            checkpoint.discard(partial)
        elif not self._complete(partial):
            notice = "a checkpoint was given up: no learner contributed to it"
        self._last, self._requested_at, self._has_checkpoint = now, None, True
        return notice

    def _is_due(self, now: float) -> bool:
        if not self._has_checkpoint:
            # Save early, since a run killed before its first checkpoint loses everything; but
            # before the first update there is nothing to save.
            return any(self._counters.members(LearnerCounter.UPDATES))
        return self._is_requested or now - self._last > self._config.checkpoint_every

    def request(self) -> None:
        """Save a checkpoint as soon as possible, unless one is in progress."""
        self._is_requested = self._requested_at is None

    def take_completed(self) -> list[Path]:
        """Return the folders of the checkpoints completed since the last call."""
        completed, self._completed = self._completed, []
        return completed

    def save_final(self) -> None:
        """Complete the final checkpoint, from the parts that learners wrote when they ended.

        Raises:
            StorageError: when it cannot be written.
        """
        self._discard_partial(but=FINAL)
        self._complete(checkpoint.partial_folder(self._folder, FINAL))

    def _complete(self, partial: Path) -> bool:
        """Complete a checkpoint from the parts written so far; return False if there are none."""
        steps = self._counters.column(LearnerCounter.AGENT_STEPS)
        checkpoint.drop_parts(partial, self._counters.learners)
        if not checkpoint.parts(partial):
            checkpoint.discard(partial)
            return False
        if isinstance(self._coupling, SharedParameters):
            checkpoint.write_shared(partial, self._coupling.tensors())
        kept = self._config.checkpoints_kept
        self._completed.append(checkpoint.complete(partial, sum(steps), steps, kept))
        return True

    def _discard_partial(self, but: str | None = None) -> None:
        kept = None if but is None else checkpoint.partial_folder(self._folder, but)
        for partial in self._folder.glob(".partial-*"):
            if partial != kept:
                checkpoint.discard(partial)
