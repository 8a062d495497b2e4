"""What runs inside one learner's process."""

import contextlib
import io
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path

import torch

from gala_rl.actor import StopRequested
from gala_rl.coupling import GradientAverage, Rendezvous
from gala_rl.envs import seed_generators
from gala_rl.errors import ActorFailure, SimulatorFailure, StorageError, UserError
from gala_rl.learners import Coupling
from gala_rl.methods import find
from gala_rl.processes.allocator import keep_freed_memory
from gala_rl.processes.heartbeat import beat, beat_in
from gala_rl.processes.spawn import end_with_parent
from gala_rl.processes.torch_defaults import set_torch_defaults
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader, of_learners
from gala_rl.run.coupling import couple
from gala_rl.run.learner_run import LearnerRun
from gala_rl.run.learner_spec import FINAL, LearnerSpec
from gala_rl.run.replica import train_in_step
from gala_rl.run.shared_counters import LearnerCounter

CANNOT_WRITE = 74
"""Exit code of a learner that can write neither metrics nor checkpoints (EX_IOERR)."""

REFUSED = 78
"""Exit code of a learner whose settings or environment this process refuses (EX_CONFIG)."""

STARTED_A_RUN = 64
"""Exit code of a learner that was about to start a run itself (EX_USAGE)."""

PROCESS_NAME = "gala-learner-"
"""What the names of learners' processes begin with."""

_TRIES = 10
"""Of each donor, which may send faster than its message is copied."""

_TOGETHER_S = 20.0
"""A learner that is ready waits this long for the others before its very first update."""


def run_learner(assignment: LearnerSpec) -> None:
    """Be a learner until the budget is spent or a stop is asked for."""
    end_with_parent()
    _redirect_output(assignment.folder.log_file(assignment.rank))
    torch.set_num_threads(assignment.config.threads_per_learner())
    set_torch_defaults()
    keep_freed_memory()
    beat_in(assignment.board.heartbeat(assignment.rank))
    assignment.registered.register()
    try:
        coupling = couple(assignment.common, assignment.rank)
        with contextlib.closing(_make_run(assignment, coupling)) as run:
            if isinstance(coupling, GradientAverage):
                is_whole = train_in_step(assignment, run, coupling)
            else:
                _begin_together(assignment)
                with contextlib.suppress(StopRequested):
                    _train(assignment, run)
                is_whole = True
            if is_whole:
                run.write_row(assignment.total_agent_steps(run))
                if assignment.is_member:
                    assignment.write_part(run, FINAL)
            # Before simulators are closed: what they do then undoes nothing.
            assignment.board.set(assignment.rank, LearnerCounter.DONE, 1)
    except StorageError:
        # The log may be on the same full disk: the exit code tells the supervisor.
        sys.exit(CANNOT_WRITE)
    except UserError:
        # Such as an environment that could be built where the run was set up, but not here.
        traceback.print_exc()
        sys.exit(REFUSED)
    except (ActorFailure, SimulatorFailure) as error:
        # The traceback worth reading is the other process', which is the last thing in this log.
        sys.exit(str(error))


def refuse_to_start_a_run() -> None:
    """End a learner that imports the main program and finds it starting a run, unguarded."""
    if multiprocessing.current_process().name.startswith(PROCESS_NAME):
        # While it imports the main program, a forked process loses the code of a sys.exit.
        os._exit(STARTED_A_RUN)


def _begin_together(assignment: LearnerSpec) -> None:
    """Let nobody spend the budget alone while the others' processes still start.

    The only wait in the life of a learner that does not step with all others. One that comes back
    after a death finds everybody ready.
    """
    board, config = assignment.board, assignment.config
    board.set(assignment.rank, LearnerCounter.READY, 1)
    deadline = time.monotonic() + min(_TOGETHER_S, config.hang_after / 2)
    while (
        not all(board.members(LearnerCounter.READY))
        and not board.stop
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
        beat()


def _train(assignment: LearnerSpec, run: LearnerRun) -> None:
    board, told = assignment.board, 0

    def look_up() -> bool:
        assignment.save_if_wanted(run, board.checkpoint_wanted)
        return board.stop

    run.heed(board.stop_flag(), look_up)
    while (total := board.total_agent_steps) < assignment.config.steps and not board.stop:
        if (learners := board.learners) != run.learners:
            if assignment.rank >= learners:
                break
            run.change_learners(learners)
        assignment.advance(run, total)
        if told != learners:
            board.set(assignment.rank, LearnerCounter.LEARNERS, learners)
            told = learners
        assignment.save_if_wanted(run, board.checkpoint_wanted)


def _make_run(assignment: LearnerSpec, coupling: Coupling | None) -> LearnerRun:
    board, rank, mailboxes = assignment.board, assignment.rank, assignment.mailboxes
    # A message that is out already must be followed by newer ones.
    updates = max(board.get(rank, LearnerCounter.UPDATES), mailboxes.version(rank))
    seed_generators(assignment.config.seed, rank, updates)
    run = LearnerRun(
        assignment.config,
        rank,
        mailboxes.transport(rank),
        torch.device(assignment.device),
        assignment.folder,
        updates,
        None if assignment.journal is None else assignment.journal.writer(rank),
        coupling or assignment.elsewhere,
    )
    if assignment.faults is not None:
        run.suffer(assignment.folder, assignment.faults)
    if assignment.checkpoint is not None:
        _restore(assignment, run, checkpoint.open_checkpoint(assignment.checkpoint))
    elif updates or assignment.donors or assignment.joins:
        _start_over(assignment, run, updates)
    # Whoever takes over what this learner sends is to go on with its statistics from the first on.
    assignment.show_optimizer(run)
    return run


def _restore(assignment: LearnerSpec, run: LearnerRun, saved: checkpoint.Checkpoint) -> None:
    rank, board = assignment.rank, assignment.board
    updates = board.get(rank, LearnerCounter.UPDATES)
    is_further = (
        board.get(rank, LearnerCounter.AGENT_STEPS) > saved.manifest["learner_agent_steps"][rank]
    )
    if rank in saved.learners():
        run.restore(saved)
        # If its node died since then, those that hear it have newer messages of it.
        if is_further and find(assignment.config.method).gossips:
            run.continue_at(updates)
            _recall(assignment, run)
        return
    donor = saved.load(saved.learners()[0])
    run.adopt(donor.tensors["parameters"], donor.tensors["optimizer"])
    run.continue_at(updates)


def _start_over(assignment: LearnerSpec, run: LearnerRun, updates: int) -> None:
    origin, at_s = _take_over(assignment, run)
    if run.agent.journal is not None:
        run.agent.journal.adopt(updates, origin, at_s)
    if isinstance(assignment.common, Rendezvous):
        # Replicas count what their parameters have gone through.
        updates = 0 if origin is None else origin[1]
    run.continue_at(updates)
    _recall(assignment, run)


def _recall(assignment: LearnerSpec, run: LearnerRun) -> None:
    reader = MetricsReader(assignment.folder.metrics_file(assignment.rank))
    run.recall(of_learners(reader.new_rows()))


def _take_over(assignment: LearnerSpec, run: LearnerRun) -> tuple[tuple[int, int] | None, float]:
    """Go on from what a donor, or the learner itself, has sent last.

    Returns:
        Its (sender, version), None if nobody has sent anything yet, and a time on the monotonic
        clock at which that was among the sender's newest messages.

    Raises:
        RuntimeError: when there is nothing to go on from but there has to be.
    """
    sources = assignment.donors if assignment.joins else (*assignment.donors, assignment.rank)
    for source in sources * _TRIES:
        if (message := assignment.mailboxes.lend(source)) is None:
            continue
        parameters = message.parameters[: run.agent.learner.flat.values.numel()]
        run.adopt(parameters, assignment.board.optimizer_states[source])
        at_s = time.monotonic()
        if message.is_whole():
            return (source, message.version), at_s
    if assignment.donors or assignment.joins:
        raise RuntimeError(f"no message of learners {assignment.donors} could be taken over")
    return None, time.monotonic()


def _redirect_output(log: Path) -> None:
    """Send everything this process prints, C libraries included, to its log file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
        # The log is UTF-8 whatever the terminal was: an environment may print any character.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    os.close(descriptor)
