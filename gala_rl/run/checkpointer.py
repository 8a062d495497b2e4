"""A run's checkpoints: requested when due, completed when all members have written their parts."""

import time
from pathlib import Path

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.coupling import SharedParameters
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.coupling import SharedCoupling
from gala_rl.run.learner_spec import FINAL
from gala_rl.run.pace import UpdatePace
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters


class Checkpointer:
    """Requests parts of checkpoints from learners and completes the checkpoints.

    Args:
        config: of the run, resolved.
        folder: of the run; partial checkpoints of an earlier attempt are removed.
        counters: where learners see the request, and answer.
        coupling: what learners share that do not gossip.
        has_checkpoint: whether there is one already; the first is made after the first update.
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
        self._asked_at: float | None = None
        self._patience_s = 0.0
        self._has_checkpoint = has_checkpoint
        self._missing = 0
        self._discard_partial()

    def poll(self, pace: UpdatePace) -> str | None:
        """Request a checkpoint if one is due; complete or give up the one under way.

        Must not be called while a learner leaves: it may be writing its part.

        Args:
            pace: determines how long to wait for the next part.

        Returns:
            A notice if the checkpoint was given up.

        Raises:
            StorageError: when a checkpoint cannot be written.
        """
        now, notice = time.monotonic(), None
        if self._asked_at is None:
            if self._is_due(now):
                # A learner may still have written to a checkpoint that was given up.
                self._discard_partial(but=FINAL)
                self._number += 1
                self._asked_at, self._missing = now, self._counters.learners
                self._patience_s = pace.patience_s()
                self._counters.ask_for_checkpoint(self._number)
            return None
        partial = checkpoint.partial_folder(self._folder, str(self._number))
        written = self._counters.members(LearnerCounter.CHECKPOINT_WRITTEN)
        missing = sum(number < self._number for number in written)
        if missing < self._missing:
            # Parts from other machines come one by one, and each may take long.
            self._missing, self._asked_at = missing, now
        if missing and now - self._asked_at <= self._patience_s:
            return None
        if missing:
            notice = "a checkpoint was given up: a learner did not contribute to it"
            self._counters.give_checkpoint_up()
            checkpoint.discard(partial)
        elif not self._complete(partial):
            notice = "a checkpoint was given up: no learner contributed to it"
        self._last, self._asked_at, self._has_checkpoint = now, None, True
        return notice

    def _is_due(self, now: float) -> bool:
        if not self._has_checkpoint:
            # A run that is killed before its first checkpoint would have to start anew, but before
            # the first update there is nothing to save.
            return any(self._counters.members(LearnerCounter.UPDATES))
        return now - self._last > self._config.checkpoint_every

    def save_final(self) -> None:
        """Complete the checkpoint to which learners contributed when they ended.

        Raises:
            StorageError: when it cannot be written.
        """
        self._discard_partial(but=FINAL)
        self._complete(checkpoint.partial_folder(self._folder, FINAL))

    def _complete(self, partial: Path) -> bool:
        """Make a checkpoint of the parts that there are; return whether there are any."""
        steps = self._counters.column(LearnerCounter.AGENT_STEPS)
        checkpoint.drop_parts(partial, self._counters.learners)
        if not checkpoint.parts(partial):
            checkpoint.discard(partial)
            return False
        if isinstance(self._coupling, SharedParameters):
            checkpoint.write_shared(partial, self._coupling.tensors())
        checkpoint.complete(partial, sum(steps), steps, self._config.checkpoints_kept)
        return True

    def _discard_partial(self, but: str | None = None) -> None:
        kept = None if but is None else checkpoint.partial_folder(self._folder, but)
        for partial in self._folder.glob(".partial-*"):
            if partial != kept:
                checkpoint.discard(partial)
