"""Main function of a learner's process, and the exit codes of that process."""

import contextlib
import io
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path

from gala_rl.coupling import GradientAverage
from gala_rl.errors import ActorFailure, SimulatorFailure, StorageError, UserError
from gala_rl.processes.heartbeat import beat, set_heartbeat
from gala_rl.processes.spawn import end_with_parent
from gala_rl.processes.torch_defaults import set_torch_defaults
from gala_rl.run.coupling import couple
from gala_rl.run.learner_spec import FINAL, LearnerSpec
from gala_rl.run.learner_worker import LearnerWorker, make_worker
from gala_rl.run.replica import train_in_lockstep
from gala_rl.run.shared_counters import LearnerCounter
from gala_rl.trajectory_source import StopRequested

CANNOT_WRITE = 74
"""Exit code of a learner that can write neither metrics nor checkpoints (EX_IOERR)."""

REFUSED = 78
"""Exit code of a learner whose settings or environment are invalid (EX_CONFIG)."""

STARTED_A_RUN = 64
"""Exit code of a learner that was about to start a run itself (EX_USAGE)."""

PROCESS_NAME = "gala-learner-"
"""Prefix of the names of learners' processes."""

_START_TOGETHER_S = 20.0
"""A learner that is ready waits at most this long for the others before its first update."""


def run_learner(spec: LearnerSpec) -> None:
    """Train a learner until the budget is spent or a stop is requested."""
    end_with_parent()
    redirect_output(spec.folder.log_file(spec.rank))
    set_torch_defaults(spec.config.threads_per_learner())
    set_heartbeat(spec.counters.heartbeat(spec.rank))
    spec.registry.register()
    try:
        coupling = couple(spec.shared_coupling, spec.rank)
        worker = make_worker(spec, coupling)
        with contextlib.closing(worker.run):
            if isinstance(coupling, GradientAverage):
                is_complete = train_in_lockstep(worker, coupling)
            else:
                _wait_for_others(spec)
                with contextlib.suppress(StopRequested):
                    _train(worker)
                is_complete = True
            if is_complete:
                worker.run.write_row(worker.total_agent_steps)
                if spec.is_member:
                    worker.write_part(FINAL)
            # Set before simulators are closed: after a crash in their `close` a restart is useless.
            spec.counters.set(spec.rank, LearnerCounter.DONE, 1)
    except StorageError:
        # The log may be on the same full disk, so the exit code carries the reason.
        sys.exit(CANNOT_WRITE)
    except UserError:
        # For example, an environment that can be built in the main process but not in this one.
        traceback.print_exc()
        sys.exit(REFUSED)
    except (ActorFailure, SimulatorFailure) as error:
        # The useful traceback is the other process's, which this log already has.
        sys.exit(str(error))


def refuse_to_start_a_run() -> None:
    """Exit if this is a learner's process, whose import of the main program is starting a run."""
    if multiprocessing.current_process().name.startswith(PROCESS_NAME):
        # A forked process that imports the main program loses the exit code of sys.exit.
        os._exit(STARTED_A_RUN)


def _wait_for_others(spec: LearnerSpec) -> None:
    """Wait until all learners are ready, so that the first does not spend the budget alone.

    Learners that are not replicas wait for each other only here. A restarted learner does not wait,
    since the others are ready already.
    """
    counters = spec.counters
    counters.set(spec.rank, LearnerCounter.READY, 1)
    deadline = time.monotonic() + min(_START_TOGETHER_S, spec.config.hang_after / 2)
    while (
        not all(counters.members(LearnerCounter.READY))
        and not counters.stop
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
        beat()


def _train(worker: LearnerWorker) -> None:
    spec, run, counters = worker.spec, worker.run, worker.spec.counters
    published = 0

    def save_and_check_stop() -> bool:
        worker.save_if_requested(counters.requested_checkpoint)
        return counters.stop

    run.set_stop_checks(counters.stop_flag(), save_and_check_stop)
    while (total := counters.total_agent_steps) < spec.config.steps and not counters.stop:
        if (learners := counters.learners) != run.learners:
            if spec.rank >= learners:
                break
            run.change_learners(learners)
        worker.advance(total)
        if published != learners:
            counters.set(spec.rank, LearnerCounter.LEARNERS, learners)
            published = learners
        worker.save_if_requested(counters.requested_checkpoint)


def redirect_output(log: Path) -> None:
    """Redirect everything that this process prints, C libraries included, to its log file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
        # UTF-8 regardless of the terminal, since an environment may print any character.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    os.close(descriptor)
