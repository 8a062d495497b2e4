"""What runs inside one learner's process."""

import contextlib
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from gala_rl.config import TrainConfig
from gala_rl.errors import ActorFailure, StorageError
from gala_rl.gossip import Message, SharedMailboxes
from gala_rl.gossip.journal import Journal
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.processes.spawn import die_with
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.board import Board, Cell
from gala_rl.systems.learner_run import LearnerRun

FINAL = "final"
"""Name of the checkpoint to which every learner contributes when it ends."""

CANNOT_WRITE = 74
"""Exit code of a learner that can write neither metrics nor checkpoints (EX_IOERR)."""

STARTED_A_RUN = 64
"""Exit code of a learner that was about to start a run itself (EX_USAGE)."""

PROCESS_NAME = "gala-learner-"
"""What the names of learners' processes begin with."""

_TOGETHER_S = 20.0
"""A learner that is ready waits this long for the others before its very first update."""


@dataclass(frozen=True)
class Assignment:
    """Everything a learner's process is started with.

    Attributes:
        config: of the run, resolved.
        folder: of the run.
        rank: of the learner.
        device: name of the torch device.
        mailboxes: gossip between the learners.
        board: numbers shared with the supervisor.
        journal: what the learners do to their parameters, for the supervisor; None for one alone.
        supervisor: process id; the learner does not outlive it.
        checkpoint: where to continue from; None for a new run or a restart.
        donors: ranks whose parameters a restarted learner may take over, best first.
    """

    config: TrainConfig
    folder: RunFolder
    rank: int
    device: str
    mailboxes: SharedMailboxes
    board: Board
    journal: Journal | None
    supervisor: int
    checkpoint: Path | None = None
    donors: tuple[int, ...] = ()


def work(assignment: Assignment) -> None:
    """Be a learner until the budget is spent, a stop is asked for, or the supervisor is gone."""
    die_with(assignment.supervisor)
    _redirect_output(assignment.folder.log_file(assignment.rank))
    torch.set_num_threads(assignment.config.threads_per_learner())
    keep_freed_memory()
    try:
        with contextlib.closing(_make_run(assignment)) as run:
            _begin_together(assignment)
            if _train(assignment, run):
                run.write_row()
                _write_part(assignment, run, FINAL)
    except StorageError:
        # The log may be on the same full disk: the exit code tells the supervisor.
        sys.exit(CANNOT_WRITE)
    except ActorFailure as error:
        # The traceback worth reading is the actor's, which is the last thing in this log.
        sys.exit(str(error))


def refuse_to_start_a_run() -> None:
    """End a learner that imports the main program and finds it starting a run, unguarded."""
    if multiprocessing.current_process().name.startswith(PROCESS_NAME):
        sys.exit(STARTED_A_RUN)


def _begin_together(assignment: Assignment) -> None:
    """Let nobody spend the budget alone while the others' processes still start.

    The only wait in a learner's life. One that comes back after a death finds everybody ready.
    """
    board, config = assignment.board, assignment.config
    board.set(assignment.rank, Cell.READY, 1)
    deadline = time.monotonic() + min(_TOGETHER_S, config.hang_after / 2)
    while not all(board.column(Cell.READY)) and not board.stop and time.monotonic() < deadline:
        time.sleep(0.005)


def _train(assignment: Assignment, run: LearnerRun) -> bool:
    """Returns whether it ended as it should, rather than because the supervisor is gone."""
    board, rank, config = assignment.board, assignment.rank, assignment.config
    while (total := board.total_agent_steps) < config.steps and not board.stop:
        if os.getppid() != assignment.supervisor:
            return False
        wrote_row = run.advance(total)
        board.set(rank, Cell.UPDATES, run.agent.updates)
        board.set(rank, Cell.AGENT_STEPS, run.agent.agent_steps)
        board.set(rank, Cell.HEARTBEAT_NS, time.monotonic_ns())
        if wrote_row:
            _publish_state(assignment, run)
        if (wanted := board.checkpoint_wanted) > board.get(rank, Cell.CHECKPOINT_WRITTEN):
            _write_part(assignment, run, str(wanted))
            board.set(rank, Cell.CHECKPOINT_WRITTEN, wanted)
    return True


def _publish_state(assignment: Assignment, run: LearnerRun) -> None:
    """Leave in shared memory what a learner that starts over, and whoever watches, need."""
    learner, rank = run.agent.learner, assignment.rank
    assignment.board.gradients[rank].copy_(learner.flat.grads)
    assignment.board.optimizer_states[rank].copy_(learner.optimizer.state)
    if assignment.config.resolved_learners == 1:
        # Nobody is sent anything, so this learner's own parameters are nowhere else.
        assignment.mailboxes.write(Message(rank, run.agent.updates, run.agent.gossip.parameters))


def _write_part(assignment: Assignment, run: LearnerRun, request: str) -> None:
    partial = checkpoint.partial_folder(assignment.folder.checkpoints, request)
    sent = assignment.mailboxes.latest(assignment.rank)
    checkpoint.write_part(partial, assignment.rank, run.state(sent))


def _make_run(assignment: Assignment) -> LearnerRun:
    board, rank, mailboxes = assignment.board, assignment.rank, assignment.mailboxes
    # A message that is out already must be followed by newer ones.
    updates = max(board.get(rank, Cell.UPDATES), mailboxes.version(rank))
    run = LearnerRun(
        assignment.config,
        rank,
        mailboxes.transport(rank),
        torch.device(assignment.device),
        assignment.folder,
        updates,
        None if assignment.journal is None else assignment.journal.writer(rank),
    )
    if assignment.checkpoint is not None:
        _restore(assignment, run, checkpoint.open_checkpoint(assignment.checkpoint))
    elif updates or assignment.donors:
        _start_over(assignment, run, updates)
    return run


def _restore(assignment: Assignment, run: LearnerRun, saved: checkpoint.Checkpoint) -> None:
    rank = assignment.rank
    if rank in saved.learners():
        run.restore(saved.load(rank))
        return
    donor = saved.load(saved.learners()[0])
    run.adopt(donor.tensors["parameters"], donor.tensors["optimizer"])
    run.continue_at(
        assignment.board.get(rank, Cell.UPDATES), assignment.board.get(rank, Cell.AGENT_STEPS)
    )


def _start_over(assignment: Assignment, run: LearnerRun, updates: int) -> None:
    origin = None
    for donor in (*assignment.donors, assignment.rank):
        if (message := assignment.mailboxes.latest(donor)) is not None:
            parameters = message.parameters[: run.agent.learner.flat.values.numel()]
            run.adopt(parameters, assignment.board.optimizer_states[donor])
            origin = donor, message.version
            break
    if run.agent.journal is not None:
        run.agent.journal.adopt(updates, origin)
    run.continue_at(updates, assignment.board.get(assignment.rank, Cell.AGENT_STEPS))
    run.recall(MetricsReader(assignment.folder.metrics_file(assignment.rank)).new_rows())


def _redirect_output(log: Path) -> None:
    """Send everything this process prints, C libraries included, to its log file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
