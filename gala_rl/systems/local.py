"""A process for each learner, started, watched, restarted and stopped by this one."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.multiprocessing

from gala_rl.agent import Beginning, message_size
from gala_rl.config import TrainConfig
from gala_rl.errors import LearnerFailure, StorageError, UserError
from gala_rl.gossip import SharedMailboxes
from gala_rl.gossip.journal import Journal
from gala_rl.gossip.topology import make as make_topology
from gala_rl.optimizers import state_size
from gala_rl.processes.spawn import spawn
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.sharing import SharedParameters
from gala_rl.systems.assignment import FINAL, Assignment
from gala_rl.systems.board import Board, Cell
from gala_rl.systems.common import make_common
from gala_rl.systems.interrupts import Interrupts
from gala_rl.systems.status import Observer, Outcome, Status
from gala_rl.systems.watch import ConsensusWatch, make_watch
from gala_rl.systems.worker import CANNOT_WRITE, PROCESS_NAME, STARTED_A_RUN, work

_LOOK_EVERY_S = 0.2
_STOP_S = 60.0
"""After a request to stop, learners that are not done by then are killed."""
_CHECKPOINT_S = 60.0
"""A checkpoint to which not everybody has contributed by then is given up."""
_PROGRESS_UPDATES = 100
"""A learner that lives for this many updates has its earlier deaths forgiven."""
_TRACEBACK_LINES = 40


@dataclass
class _Learner:
    """The supervisor's view of one learner."""

    assignment: Assignment
    process: BaseProcess
    started_at_updates: int
    restarts: int = 0
    deaths_in_a_row: int = 0
    done: bool = False


@dataclass
class _Saving:
    """Progress of the regular checkpoints."""

    last: float
    number: int = 0
    asked_at: float | None = None


class LocalSystem:
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
        config: TrainConfig,
        folder: RunFolder,
        device: torch.device,
        beginning: Beginning,
        start: Checkpoint | None,
    ) -> None:
        count, size = config.resolved_learners, beginning.parameters.numel()
        self._config = config
        self._folder = folder
        self._topology = make_topology(config.gossip.topology, count)
        self._mailboxes = SharedMailboxes(count, message_size(config, size))
        self._board = Board(count, size, state_size(config.resolved_algorithm, size))
        self._common = make_common(config, folder, beginning.parameters, start)
        gossips = count > 1 and self._common is None
        self._journal = Journal(count, self._topology.largest_in_degree) if gossips else None
        self._watch = self._make_watch(beginning.learned, start)
        self._saving = _Saving(last=time.monotonic())
        self._notices: list[str] = []
        self._failure: LearnerFailure | StorageError | UserError | None = None
        self._stop_wanted = False
        for leftover in folder.checkpoints.glob(".partial-*"):
            checkpoint.discard(leftover)
        if start is not None:
            self._set_counters(start)
        self._learners = [
            self._start(
                Assignment(
                    config=config,
                    folder=folder,
                    rank=rank,
                    device=str(device),
                    mailboxes=self._mailboxes,
                    board=self._board,
                    journal=self._journal,
                    common=self._common,
                    supervisor=os.getpid(),
                    checkpoint=None if start is None else start.path,
                )
            )
            for rank in range(count)
        ]

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the learners as they are now, by rank; one that is restarted gets another."""
        pids = (learner.process.pid for learner in self._learners)
        return tuple(pid for pid in pids if pid is not None)

    def stop(self) -> None:
        """Ask all learners to end after the update they are in; may be called by the observer."""
        self._stop_wanted = True

    def run(self, observe: Observer) -> Outcome:
        """Watch until all learners are done; always ends with no process left."""
        stop_asked_at: float | None = None
        try:
            with Interrupts() as interrupts:
                while not all(learner.done for learner in self._learners):
                    time.sleep(_LOOK_EVERY_S)
                    now = time.monotonic()
                    for learner in self._learners:
                        self._look_after(learner, now)
                    if interrupts.count or self._failure is not None:
                        self.stop()
                    if self._stop_wanted and stop_asked_at is None:
                        self._board.ask_to_stop()
                        stop_asked_at = now
                    with self._ending_on_a_full_disk():
                        if stop_asked_at is None:
                            self._save_regularly(now)
                        self._follow()
                        observe(self._status())
                    if stop_asked_at is not None and now - stop_asked_at > _STOP_S:
                        break
        finally:
            self._kill_all()
            if self._common is not None:
                self._common.close()
        with self._ending_on_a_full_disk():
            self._end_watch()
        status = self._status()
        with self._ending_on_a_full_disk():
            self._save_final()
            observe(status)
        return Outcome(status, interrupts.count > 0, self._failure)

    @contextmanager
    def _ending_on_a_full_disk(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            self._failure = self._failure or error

    def _make_watch(self, learned: int, start: Checkpoint | None) -> ConsensusWatch | None:
        if self._journal is None:
            return None
        watch = make_watch(
            self._config,
            self._folder,
            learned,
            self._journal.reader(),
            self._mailboxes.lend,
            list(self._board.gradients),
        )
        if start is not None:
            watch.begin_apart(start)
        return watch

    def _follow(self) -> None:
        if self._watch is not None:
            self._watch.follow(self._board.total_agent_steps)

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.look(self._board.total_agent_steps)
            self._watch.close()

    def _set_counters(self, start: Checkpoint) -> None:
        per_update = self._config.update_agent_steps
        for rank, agent_steps in enumerate(start.manifest["learner_agent_steps"]):
            self._board.set(rank, Cell.AGENT_STEPS, agent_steps)
            self._board.set(rank, Cell.UPDATES, agent_steps // per_update)

    def _start(self, assignment: Assignment) -> _Learner:
        self._board.set(assignment.rank, Cell.HEARTBEAT_NS, time.monotonic_ns())
        process = spawn(work, assignment, f"{PROCESS_NAME}{assignment.rank}")
        updates = self._board.get(assignment.rank, Cell.UPDATES)
        return _Learner(assignment, process, updates)

    def _look_after(self, learner: _Learner, now: float) -> None:
        if learner.done:
            return
        rank, process = learner.assignment.rank, learner.process
        if process.exitcode == 0:
            learner.done = True
            # Nobody need wait for it any longer.
            self._mailboxes.set_down(rank, True)
            return
        heartbeat = self._board.get(rank, Cell.HEARTBEAT_NS) / 1e9
        if process.exitcode is None and now - heartbeat > self._config.hang_after:
            patience = self._config.hang_after
            self._notices.append(f"learner {rank} made no update for {patience:.0f} s: killed")
            process.kill()
            process.join()
        updates = self._board.get(rank, Cell.UPDATES)
        if process.exitcode is None:
            if self._mailboxes.is_down(rank) and updates > learner.started_at_updates:
                self._mailboxes.set_down(rank, False)
            return
        self._mailboxes.set_down(rank, True)
        self._bury(learner, updates)

    def _bury(self, learner: _Learner, updates: int) -> None:
        """Restart a dead learner, or give up on it if it keeps dying."""
        rank, exitcode = learner.assignment.rank, learner.process.exitcode
        if updates - learner.started_at_updates >= _PROGRESS_UPDATES:
            learner.deaths_in_a_row = 0
        learner.deaths_in_a_row += 1
        if exitcode == STARTED_A_RUN:
            learner.done = True
            self._failure = UserError(
                "a learner that imported the program has started the run once more: put the call "
                "of gala_rl.train under if __name__ == '__main__':"
            )
            return
        if exitcode == CANNOT_WRITE:
            learner.done = True
            free = shutil.disk_usage(self._folder.path).free
            self._failure = self._failure or StorageError(
                f"learner {rank} cannot write to {self._folder.path}: {free:,} bytes are free there"
            )
            return
        if self._failure is not None or self._board.stop:
            learner.done = True
            return
        if learner.deaths_in_a_row > self._config.max_restarts:
            learner.done = True
            self._failure = LearnerFailure(
                f"learner {rank} died {learner.deaths_in_a_row} times without making "
                f"{_PROGRESS_UPDATES} updates (exit code {exitcode}):\n{self._last_words(rank)}"
            )
            return
        donors = self._donors(rank)
        shares_all = isinstance(self._common, SharedParameters)
        nothing_newer = not (donors or shares_all or self._mailboxes.version(rank))
        source = learner.assignment.checkpoint if nothing_newer else None
        fresh = replace(learner.assignment, donors=donors, checkpoint=source)
        again = self._start(fresh)
        learner.process, learner.started_at_updates = again.process, again.started_at_updates
        learner.assignment = fresh
        learner.restarts += 1
        origin = "its own last state" if self._common is None else "the state of the others"
        origin = f"learner {donors[0]}" if donors else origin
        self._notices.append(
            f"learner {rank} died (exit code {exitcode}) and is restarted from {origin}"
        )

    def _donors(self, rank: int) -> tuple[int, ...]:
        """Live learners that have sent something, those that `rank` listens to first."""
        if self._common is not None:
            return ()
        heard = self._topology.all_in_neighbours(rank)
        others = [r for r in range(self._config.resolved_learners) if r not in (rank, *heard)]
        return tuple(
            r
            for r in (*heard, *others)
            if not self._mailboxes.is_down(r) and self._mailboxes.version(r) > 0
        )

    def _last_words(self, rank: int) -> str:
        log = self._folder.log_file(rank)
        if not log.is_file():
            return "(it wrote no log)"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TRACEBACK_LINES:])

    def _save_regularly(self, now: float) -> None:
        saving, board = self._saving, self._board
        if saving.asked_at is None:
            if now - saving.last > self._config.checkpoint_every:
                saving.number += 1
                saving.asked_at = now
                board.ask_for_checkpoint(saving.number)
            return
        partial = checkpoint.partial_folder(self._folder.checkpoints, str(saving.number))
        written = board.column(Cell.CHECKPOINT_WRITTEN)
        if all(number >= saving.number for number in written):
            self._complete(partial)
        elif now - saving.asked_at > _CHECKPOINT_S:
            self._notices.append("a checkpoint was given up: a learner did not contribute to it")
            checkpoint.discard(partial)
        else:
            return
        saving.last, saving.asked_at = now, None

    def _save_final(self) -> None:
        for leftover in self._folder.checkpoints.glob(".partial-*"):
            if leftover.name != f".partial-{FINAL}":
                checkpoint.discard(leftover)
        final = checkpoint.partial_folder(self._folder.checkpoints, FINAL)
        if checkpoint.parts(final):
            self._complete(final)
        else:
            checkpoint.discard(final)

    def _complete(self, partial: Path) -> None:
        steps = self._board.column(Cell.AGENT_STEPS)
        if isinstance(self._common, SharedParameters):
            checkpoint.write_shared(partial, self._common.tensors())
        checkpoint.complete(partial, sum(steps), steps, self._config.checkpoints_kept)

    def _status(self) -> Status:
        notices, self._notices = self._notices, []
        if self._watch is not None:
            notices += self._watch.take_notices()
        return Status(
            agent_steps=self._board.column(Cell.AGENT_STEPS),
            updates=self._board.column(Cell.UPDATES),
            alive=[learner.process.exitcode is None for learner in self._learners],
            restarts=[learner.restarts for learner in self._learners],
            notices=notices,
            consensus=None if self._watch is None else self._watch.latest,
        )

    def _kill_all(self) -> None:
        for learner in self._learners:
            if learner.process.exitcode is None:
                learner.process.kill()
            learner.process.join()
