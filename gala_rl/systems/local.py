"""A run on this machine: what learners share is made, a crew started, and all seen to its end."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from gala_rl.agent import Beginning, message_size
from gala_rl.config import TrainConfig
from gala_rl.errors import StorageError
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.watch import FaultWatch
from gala_rl.gossip import SharedMailboxes
from gala_rl.gossip.journal import Journal
from gala_rl.graph import largest_in_degree
from gala_rl.methods import capacity
from gala_rl.optimizers import state_size
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.assignment import Assignment
from gala_rl.systems.board import Board, Cell
from gala_rl.systems.common import make_common
from gala_rl.systems.crew import Crew
from gala_rl.systems.interrupts import Interrupts
from gala_rl.systems.saving import Saving
from gala_rl.systems.scaling import Scaling
from gala_rl.systems.status import Failure, Observer, Outcome, Status
from gala_rl.systems.watch import ConsensusWatch, make_watch

_Value = TypeVar("_Value")

_LOOK_EVERY_S = 0.2
_STOP_S = 60.0
"""After a request to stop, learners that are not done by then are killed."""


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
        room = capacity(config)
        mailboxes = SharedMailboxes(room, message_size(config, size))
        self._board = Board(count, size, state_size(config.resolved_algorithm, size), room)
        self._common = make_common(config, folder, beginning.parameters, start)
        journal = None
        if room > 1 and self._common is None:
            journal = Journal(room, largest_in_degree(config, room))
        self._watch: ConsensusWatch | None = None
        if journal is not None:
            self._watch = make_watch(
                config,
                folder,
                beginning.learned,
                journal.reader(),
                mailboxes.lend,
                list(self._board.gradients),
            )
        if start is not None:
            self._continue(config, start)
        faults = None if config.fault_plan is None else FaultClock(room)
        self._faults = None if faults is None else FaultWatch(faults, folder.faults_file)
        self._saving = Saving(config, folder, self._board, self._common)
        for rank in range(count, room):
            mailboxes.set_down(rank, True)

        def assign(rank: int) -> Assignment:
            return Assignment(
                config=config,
                folder=folder,
                rank=rank,
                device=str(device),
                mailboxes=mailboxes,
                board=self._board,
                journal=journal,
                common=self._common,
                faults=faults,
                supervisor=os.getpid(),
                checkpoint=None if start is None else start.path,
            )

        self._notices: list[str] = []
        self._disk_full: StorageError | None = None
        self._stop_wanted = False
        self._crew = Crew(map(assign, range(count)))
        self._scaling = Scaling(config, folder, self._board, self._crew, self._watch, assign)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the learners as they are now, by rank; one that is restarted gets another."""
        return self._crew.process_ids

    @property
    def agent_steps(self) -> list[int]:
        """Made by each learner so far."""
        return self._board.column(Cell.AGENT_STEPS)

    def stop(self) -> None:
        """Ask all learners to end after the update they are in; may be called by the observer."""
        self._stop_wanted = True

    def run(self, observe: Observer) -> Outcome:
        """Watch until all learners are done; always ends with no process left."""
        stop_asked_at: float | None = None
        try:
            with Interrupts() as interrupts:
                while not self._crew.done:
                    time.sleep(_LOOK_EVERY_S)
                    self._crew.look_after()
                    if self._faults is not None:
                        self._faults.wake(self._crew.process_ids)
                    if interrupts.count or self._failure is not None:
                        self.stop()
                    if self._stop_wanted and stop_asked_at is None:
                        self._board.ask_to_stop()
                        stop_asked_at = time.monotonic()
                    with self._ending_on_a_full_disk():
                        if stop_asked_at is None:
                            self._scale()
                            self._save_regularly()
                        self._follow()
                        observe(self._status())
                    if stop_asked_at is not None and time.monotonic() - stop_asked_at > _STOP_S:
                        break
        finally:
            self._crew.end()
            if self._common is not None:
                self._common.close()
        with self._ending_on_a_full_disk():
            self._end_watch()
        status = self._status()
        with self._ending_on_a_full_disk():
            self._saving.save_final()
            observe(status)
        return Outcome(status, interrupts.count > 0, self._failure)

    @property
    def _failure(self) -> Failure | None:
        return self._crew.failure or self._disk_full

    @contextmanager
    def _ending_on_a_full_disk(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            self._disk_full = self._disk_full or error

    def _continue(self, config: TrainConfig, start: Checkpoint) -> None:
        made = start.manifest["learner_agent_steps"]
        self._board.set_learners(len(made))
        self._board.set_learners(config.resolved_learners)
        for rank, agent_steps in enumerate(made):
            self._board.set(rank, Cell.AGENT_STEPS, agent_steps)
            self._board.set(rank, Cell.UPDATES, agent_steps // config.update_agent_steps)
        if self._watch is not None:
            self._watch.begin_apart(start)

    def _scale(self) -> None:
        if (notice := self._scaling.look()) is not None:
            self._notices.append(notice)

    def _save_regularly(self) -> None:
        # Who leaves may be writing its part of a checkpoint.
        if not self._crew.has_let_go(self._board.learners):
            return
        if (notice := self._saving.save_regularly()) is not None:
            self._notices.append(notice)

    def _follow(self) -> None:
        if self._watch is not None:
            self._watch.follow(self._board.total_agent_steps)

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.look(self._board.total_agent_steps)
            self._watch.close()

    def _status(self) -> Status:
        notices, self._notices = self._notices + self._crew.take_notices(), []
        for watch in (self._faults, self._watch):
            notices += [] if watch is None else watch.take_notices()
        members, ever = self._board.learners, self._board.learners_ever
        return Status(
            agent_steps=self.agent_steps,
            updates=self._board.column(Cell.UPDATES),
            alive=_first(members, self._crew.alive, False),
            restarts=_first(ever, self._crew.restarts, 0),
            notices=notices,
            consensus=None if self._watch is None else self._watch.latest,
        )


def _first(count: int, values: list[_Value], missing: _Value) -> list[_Value]:
    """The first so many; there are fewer while learners are about to be started."""
    return (values + [missing] * count)[:count]
