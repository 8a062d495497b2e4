"""A run's checkpoints: asked for at their time, completed when all members have contributed."""

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
    """Asks learners for their parts and makes checkpoints of them.

    Args:
        config: of the run, resolved.
        folder: of the run; leftovers of an earlier attempt are removed.
        board: where learners are asked, and answer.
        common: what the learners share if they don't gossip.
        has_checkpoint: whether there is one already; the first is made after the first update.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        folder: RunFolder,
        board: SharedCounters,
        common: SharedCoupling | None,
        has_checkpoint: bool,
    ) -> None:
        self._config, self._board, self._common = config, board, common
        self._folder = folder.checkpoints
        self._last = time.monotonic()
        self._number = 0
        self._asked_at: float | None = None
        self._patience_s = 0.0
        self._has_checkpoint = has_checkpoint
        self._missing = 0
        self._discard_leftovers()

    def save_regularly(self, pace: UpdatePace) -> str | None:
        """Go on with the checkpoint in the making, or begin one if it is time.

        Must not be called while a learner leaves: it may be writing its part.

        Args:
            pace: tells how long to wait for the next contribution to a checkpoint.

        Returns:
            What there is to tell, if something went wrong.

        Raises:
            StorageError: when a checkpoint cannot be written.
        """
        now, notice = time.monotonic(), None
        if self._asked_at is None:
            if self._is_time(now):
                # Whoever was about to write when one was given up has written on.
                self._discard_leftovers(but=FINAL)
                self._number += 1
                self._asked_at, self._missing = now, self._board.learners
                self._patience_s = pace.patience_s()
                self._board.ask_for_checkpoint(self._number)
            return None
        partial = checkpoint.partial_folder(self._folder, str(self._number))
        written = self._board.members(LearnerCounter.CHECKPOINT_WRITTEN)
        missing = sum(number < self._number for number in written)
        if missing < self._missing:
            # From other machines they come one by one, and may take long.
            self._missing, self._asked_at = missing, now
        if missing and now - self._asked_at <= self._patience_s:
            return None
        if missing:
            notice = "a checkpoint was given up: a learner did not contribute to it"
            self._board.give_checkpoint_up()
            checkpoint.discard(partial)
        elif not self._complete(partial):
            notice = "a checkpoint was given up: nobody contributed to it"
        self._last, self._asked_at, self._has_checkpoint = now, None, True
        return notice

    def _is_time(self, now: float) -> bool:
        if not self._has_checkpoint:
            # A run that is killed before its first one would have to start anew; until an update
            # has been made there is nothing to keep.
            return any(self._board.members(LearnerCounter.UPDATES))
        return now - self._last > self._config.checkpoint_every

    def save_final(self) -> None:
        """Make a checkpoint of what the learners left when they ended.

        Raises:
            StorageError: when it cannot be written.
        """
        self._discard_leftovers(but=FINAL)
        self._complete(checkpoint.partial_folder(self._folder, FINAL))

    def _complete(self, partial: Path) -> bool:
        """Make a checkpoint of the parts that are there; returns whether there are any."""
        steps = self._board.column(LearnerCounter.AGENT_STEPS)
        checkpoint.drop_parts(partial, self._board.learners)
        if not checkpoint.parts(partial):
            checkpoint.discard(partial)
            return False
        if isinstance(self._common, SharedParameters):
            checkpoint.write_shared(partial, self._common.tensors())
        checkpoint.complete(partial, sum(steps), steps, self._config.checkpoints_kept)
        return True

    def _discard_leftovers(self, but: str | None = None) -> None:
        kept = None if but is None else checkpoint.partial_folder(self._folder, but)
        for leftover in self._folder.glob(".partial-*"):
            if leftover != kept:
                checkpoint.discard(leftover)
