"""Supervises the learners of one machine: starts a process for each, restarts it, ends it."""

import shutil
import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from gala_rl.coupling import SharedParameters
from gala_rl.envs.registration import registry_entries
from gala_rl.errors import LearnerFailure, StorageError, UserError, counted
from gala_rl.graph import graph_of
from gala_rl.processes.supervised import RestartBudget, SupervisedProcess, end_all
from gala_rl.run.learner_process import (
    CANNOT_WRITE,
    PROCESS_NAME,
    REFUSED,
    STARTED_A_RUN,
    run_learner,
)
from gala_rl.run.learner_spec import LearnerSpec
from gala_rl.run.shared_counters import LearnerCounter
from gala_rl.run.status import RunFailure

_PROGRESS_UPDATES = 100
"""Earlier deaths of a learner are forgiven once it has made this many updates."""
_TRACEBACK_LINES = 40
_IMPORTS = "gala_rl.run.fork_server"


@dataclass
class _Learner:
    """A supervised learner, across restarts of its process.

    Attributes:
        spec: arguments of its process.
        process: its process.
        budget: deaths so far, and how many are allowed.
        updates_at_start: updates made before its process started.
        has_joined: whether it has made an update, or was a member from the start of the run.
        restarts: number of restarts.
        is_done: whether it has ended for good.
        was_hung: whether it was killed because it gave no sign of life.
    """

    spec: LearnerSpec
    process: SupervisedProcess
    budget: RestartBudget
    updates_at_start: int
    has_joined: bool
    restarts: int = 0
    is_done: bool = False
    was_hung: bool = False


class LearnerSupervisor:
    """Starts the processes of learners, and restarts those that die or hang.

    Args:
        specs: arguments of the processes, by rank.

    Attributes:
        failure: why the run cannot continue; None as long as it can.

    Raises:
        LearnerFailure: if a process cannot be started; those started before are killed.
    """

    def __init__(self, specs: Iterable[LearnerSpec]) -> None:
        self.failure: RunFailure | None = None
        self._rejected: LearnerFailure | None = None
        self._notices: list[str] = []
        self._learners: list[_Learner] = []
        try:
            self._learners += (_start(spec) for spec in specs)
        except BaseException:
            self.kill_all()
            raise

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Current process ids, by rank."""
        return tuple(learner.process.pid for learner in self._learners)

    @property
    def done(self) -> bool:
        """Whether all learners have ended for good."""
        return self.all_ended_from(0)

    def alive(self, count: int) -> list[bool]:
        """Return whether each of `count` learners is alive; one not yet started is not."""
        alive = [learner.process.exitcode is None for learner in self._learners]
        return (alive + [False] * count)[:count]

    def restarts(self, count: int) -> list[int]:
        """Return the number of restarts of each of `count` learners."""
        return ([learner.restarts for learner in self._learners] + [0] * count)[:count]

    def all_ended_from(self, first: int) -> bool:
        """Return whether all learners of rank `first` and above have ended for good."""
        return all(learner.is_done for learner in self._learners if learner.spec.rank >= first)

    def is_running(self, rank: int) -> bool:
        """Return whether a learner has been started and has not ended for good."""
        return any(x.spec.rank == rank and not x.is_done for x in self._learners)

    def add(self, spec: LearnerSpec) -> None:
        """Start a learner that joins the run, from the latest message of a live learner."""
        rank, counters = spec.rank, spec.counters
        spec.mailboxes.set_down(rank, True)
        counters.set(rank, LearnerCounter.LEARNERS, 0)
        # A checkpoint in progress is completed without it.
        counters.set(rank, LearnerCounter.CHECKPOINT_WRITTEN, counters.requested_checkpoint)
        donors = donors_of(spec)
        try:
            new = _start(replace(spec, donors=donors, checkpoint=None, is_joining=True))
        except LearnerFailure as error:
            self._rejected = self._rejected or error
            return
        for position, learner in enumerate(self._learners):
            if learner.spec.rank == rank:
                learner.process.release()
                new.restarts = learner.restarts
                self._learners[position] = new
                return
        self._learners.append(new)

    def take_rejected(self) -> LearnerFailure | None:
        """Return why a learner could not join since the last call; None if none was rejected."""
        rejected, self._rejected = self._rejected, None
        return rejected

    def take_notices(self) -> list[str]:
        """Return notices since the last call, one line each."""
        notices, self._notices = self._notices, []
        return notices

    def poll(self) -> None:
        """Check all learners, and restart those that died or hang; call it regularly."""
        for learner in self._learners:
            if not learner.is_done:
                self._check(learner)

    def kill_all(self) -> None:
        """Kill all processes that are still alive."""
        end_all([learner.process for learner in self._learners])

    def _check(self, learner: _Learner) -> None:
        spec, process = learner.spec, learner.process
        rank, counters, mailboxes = spec.rank, spec.counters, spec.mailboxes
        is_alive = process.exitcode is None
        if is_alive and process.is_hung(counters.get(rank, LearnerCounter.HEARTBEAT_NS)):
            self._notices.append(
                f"learner {rank} gave no sign of life for {process.timeout_s:g} s: killed"
            )
            learner.was_hung = True
            if process.kill():
                is_alive = False
            else:
                learner.is_done = True
                error = LearnerFailure(f"learner {rank} hangs, and cannot be killed")
                self.failure = self.failure or error
        updates = counters.get(rank, LearnerCounter.UPDATES)
        if updates > learner.updates_at_start:
            learner.has_joined = True
        if is_alive:
            if mailboxes.is_down(rank) and updates > learner.updates_at_start:
                mailboxes.set_down(rank, False)
            return
        # Marked as down, so that neighbours stop waiting for its messages.
        mailboxes.set_down(rank, True)
        # The exit code is ignored: simulators may end or crash the process when they are closed.
        if counters.get(rank, LearnerCounter.DONE) and process.exitcode != CANNOT_WRITE:
            learner.is_done = True
        else:
            self._on_death(learner, updates)

    def _on_death(self, learner: _Learner, updates: int) -> None:
        """Restart a dead learner, unless it died too often or the run no longer needs it."""
        spec, budget = learner.spec, learner.budget
        budget.count_death(updates - learner.updates_at_start)
        is_ending = self.failure is not None or spec.counters.stop or not spec.is_member
        failure = _permanent_failure(learner)
        if failure is None and budget.is_spent and not is_ending:
            failure = _repeated_failure(learner)
        if isinstance(failure, LearnerFailure) and not learner.has_joined:
            self._rejected = self._rejected or failure
        else:
            self.failure = self.failure or failure
        if failure is not None or is_ending:
            learner.is_done = True
        else:
            self._restart(learner)

    def _restart(self, learner: _Learner) -> None:
        spec, exitcode = learner.spec, learner.process.exitcode
        rank, coupling = spec.rank, spec.shared_coupling
        donors = donors_of(spec)
        has_own_state = isinstance(coupling, SharedParameters) or spec.mailboxes.version(rank)
        checkpoint = None if donors or has_own_state else spec.checkpoint
        spec = replace(
            spec, donors=donors, checkpoint=checkpoint, is_joining=not learner.has_joined
        )
        try:
            new = _start(spec)
        except LearnerFailure as error:
            learner.is_done = True
            self.failure = self.failure or error
            return
        learner.process.release()
        learner.spec, learner.process = new.spec, new.process
        learner.updates_at_start = new.updates_at_start
        learner.restarts += 1
        origin = "its own last state" if coupling is None else "the state of the others"
        origin = f"learner {donors[0]}" if donors else origin
        self._notices.append(
            f"learner {rank} died (exit code {exitcode}) and is restarted from {origin}"
        )


def donors_of(spec: LearnerSpec) -> tuple[int, ...]:
    """Return ranks of live learners that have sent a message, in-neighbours first."""
    if spec.shared_coupling is not None:
        return ()
    rank, mailboxes = spec.rank, spec.mailboxes
    graph = graph_of(spec.config, spec.counters.learners)
    neighbours = graph.all_in_neighbours(rank)
    others = [r for r in range(graph.learners) if r not in (rank, *neighbours)]
    return tuple(
        r for r in (*neighbours, *others) if not mailboxes.is_down(r) and mailboxes.version(r) > 0
    )


def _start(spec: LearnerSpec) -> _Learner:
    rank, counters = spec.rank, spec.counters
    counters.set(rank, LearnerCounter.DONE, 0)
    config = replace(spec.config, learners=counters.learners)
    spec = replace(spec, config=config, registry=registry_entries(config.env))
    name, timeout_s = f"{PROCESS_NAME}{rank}", config.hang_after
    try:
        process = SupervisedProcess(run_learner, spec, name, imports=_IMPORTS, timeout_s=timeout_s)
    except OSError as error:
        text = f"no process can be started for learner {rank}: {error}"
        raise LearnerFailure(text) from error
    budget = RestartBudget(config.max_restarts, _PROGRESS_UPDATES)
    updates = counters.get(rank, LearnerCounter.UPDATES)
    return _Learner(spec, process, budget, updates, has_joined=not spec.is_joining)


def _permanent_failure(learner: _Learner) -> RunFailure | None:
    """Return the failure if a restart would fail in the same way; None if it may help."""
    spec, exitcode = learner.spec, learner.process.exitcode
    if exitcode == STARTED_A_RUN:
        return UserError(
            "a learner that imported the program has started the run once more: put the call "
            "of gala_rl.train under if __name__ == '__main__':"
        )
    if exitcode == CANNOT_WRITE:
        path = spec.folder.path
        return StorageError(f"learner {spec.rank} cannot write to {path}: {_free_space(path)}")
    return None


def _free_space(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path).free:,} bytes are free there"
    except OSError as error:
        return f"{error.strerror}"


def _repeated_failure(learner: _Learner) -> LearnerFailure:
    """Return the failure of a learner that died too often: the end of its log, and a remedy."""
    spec, exitcode = learner.spec, learner.process.exitcode
    deaths = counted(learner.budget.deaths_in_a_row, "time")
    name = f"learner {spec.rank} died {deaths} without making {_PROGRESS_UPDATES} updates"
    log = spec.folder.log_file(spec.rank)
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    last_lines = text.splitlines()[-_TRACEBACK_LINES:] or ["(it is empty)"]
    if exitcode == REFUSED:
        reason = last_lines[-1].partition(": ")[2]
        return LearnerFailure(f"{name}: {reason}; the traceback is in {log}")
    end = "\n".join([*last_lines, _remedy(learner, log)])
    return LearnerFailure(f"{name} (exit code {exitcode}); its log ends with:\n{end}")


def _remedy(learner: _Learner, log: Path) -> str:
    """Return a line that suggests what the user can do about the deaths of a learner."""
    exitcode = learner.process.exitcode
    if learner.was_hung:
        return (
            f"it built, reset or stepped no simulator for {learner.process.timeout_s:g} s: if one "
            f"may take that long, use a longer --hang-after; else find where the environment hangs"
        )
    if exitcode == -signal.SIGKILL:
        return "the system killed it, as it does when memory is short: use fewer simulators"
    if exitcode == 0 or (exitcode or 0) < 0:
        how = "its process ended without an exception, as when an environment calls os._exit or"
        if learner.spec.config.environment.backend == "gymnasium":
            return (
                f"{how} crashes: --simulator-processes N runs simulators in processes that are "
                f"replaced"
            )
        return f"{how} crashes"
    return f"fix the error above (full log: logs/{log.name}; to use a debugger: --serial)"
