"""The learners of one machine: each in a process of its own, watched, restarted and stopped."""

import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from gala_rl.coupling import SharedParameters
from gala_rl.envs.registration import registry_entries
from gala_rl.errors import LearnerFailure, StorageError, UserError, counted
from gala_rl.graph import graph_of
from gala_rl.processes.spawn import fork_ready, release
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
"""A learner that lives for this many updates has its earlier deaths forgiven."""
_TRACEBACK_LINES = 40
_JOIN_S = 10.0
"""Who is killed has ended by then, unless the kernel waits for a device or a disk."""
_PAUSE_S = 10.0
"""Whoever looks after learners so much later than usual was stopped, and so perhaps were they."""
_IMPORTS = "gala_rl.run.fork_server"


@dataclass
class _Learner:
    """The crew's view of one learner."""

    spec: LearnerSpec
    process: BaseProcess
    started_at_updates: int
    joined_at_updates: int | None = None
    restarts: int = 0
    deaths_in_a_row: int = 0
    done: bool = False
    hung: bool = False


class LearnerSupervisor:
    """Starts a learner for each spec and keeps them alive.

    Args:
        specs: by rank.

    Attributes:
        failure: why the run has to be given up; None as long as it has not.

    Raises:
        LearnerFailure: when one cannot be started; then none is left.
    """

    def __init__(self, specs: Iterable[LearnerSpec]) -> None:
        self.failure: RunFailure | None = None
        self._rejected: LearnerFailure | None = None
        self._notices: list[str] = []
        self._looked_at, self._woke_at = time.monotonic(), 0.0
        self._learners: list[_Learner] = []
        try:
            self._learners += (_start(spec) for spec in specs)
        except BaseException:
            self.kill_all()
            raise

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the learners as they are now, by rank; one that is restarted gets another."""
        pids = (learner.process.pid for learner in self._learners)
        return tuple(pid for pid in pids if pid is not None)

    @property
    def done(self) -> bool:
        """Whether all learners have ended for good."""
        return all(learner.done for learner in self._learners)

    @property
    def alive(self) -> list[bool]:
        """Whether each learner is."""
        return [learner.process.exitcode is None for learner in self._learners]

    @property
    def restarts(self) -> list[int]:
        """Of each learner."""
        return [learner.restarts for learner in self._learners]

    def all_ended_from(self, first: int) -> bool:
        """Whether of all others than the first so many none is at work any more."""
        return all(m.done for m in self._learners if m.spec.rank >= first)

    def is_running(self, rank: int) -> bool:
        """Whether a learner has been started and not ended for good."""
        return any(m.spec.rank == rank and not m.done for m in self._learners)

    def add(self, spec: LearnerSpec) -> None:
        """Start one more learner, or one again that has left, with what a live one has sent."""
        rank, counters = spec.rank, spec.counters
        spec.mailboxes.set_down(rank, True)
        counters.set(rank, LearnerCounter.LEARNERS, 0)
        # A checkpoint in the making goes without it.
        counters.set(rank, LearnerCounter.CHECKPOINT_WRITTEN, counters.checkpoint_wanted)
        donors = donors_of(spec)
        try:
            new = _start(replace(spec, donors=donors, checkpoint=None, is_joining=True))
        except LearnerFailure as error:
            self._rejected = self._rejected or error
            return
        for place, learner in enumerate(self._learners):
            if learner.spec.rank == rank:
                release(learner.process)
                new.restarts = learner.restarts
                self._learners[place] = new
                return
        self._learners.append(new)

    def take_rejected(self) -> LearnerFailure | None:
        """Why learners that were to join cannot, since the last call; None if they can."""
        rejected, self._rejected = self._rejected, None
        return rejected

    def take_notices(self) -> list[str]:
        """What has happened since the last call, a line each."""
        notices, self._notices = self._notices, []
        return notices

    def poll(self) -> None:
        """See who has ended, died or hangs, and start again who is still needed."""
        now = time.monotonic()
        if now - self._looked_at > _PAUSE_S:
            self._woke_at = now
        self._looked_at = now
        for learner in self._learners:
            if not learner.done:
                self._check(learner, now)

    def kill_all(self) -> None:
        """Kill who still lives; no process is left."""
        for learner in self._learners:
            learner.process.kill()
        for learner in self._learners:
            learner.process.join(_JOIN_S)
            release(learner.process)

    def _check(self, learner: _Learner, now: float) -> None:
        spec, process = learner.spec, learner.process
        rank, counters, mailboxes = spec.rank, spec.counters, spec.mailboxes
        exitcode = process.exitcode
        sign_of_life = max(counters.get(rank, LearnerCounter.HEARTBEAT_NS) / 1e9, self._woke_at)
        patience = spec.config.hang_after
        if exitcode is None and now - sign_of_life > patience:
            self._notices.append(f"learner {rank} gave no sign of life for {patience:g} s: killed")
            learner.hung = True
            process.kill()
            process.join(_JOIN_S)
            if (exitcode := process.exitcode) is None:
                learner.done = True
                end = LearnerFailure(f"learner {rank} hangs, and cannot be killed")
                self.failure = self.failure or end
        updates = counters.get(rank, LearnerCounter.UPDATES)
        if exitcode is None:
            if mailboxes.is_down(rank) and updates > learner.started_at_updates:
                mailboxes.set_down(rank, False)
            return
        # Nobody need wait for it any longer.
        mailboxes.set_down(rank, True)
        # A simulator may end its process without an error, or crash it when it is closed.
        if counters.get(rank, LearnerCounter.DONE) and exitcode != CANNOT_WRITE:
            learner.done = True
        else:
            self._on_death(learner, updates)

    def _on_death(self, learner: _Learner, updates: int) -> None:
        """Restart a dead learner, or give up on it if it keeps dying."""
        if updates - learner.started_at_updates >= _PROGRESS_UPDATES:
            learner.deaths_in_a_row = 0
        learner.deaths_in_a_row += 1
        spec = learner.spec
        leaves = spec.counters.stop or not spec.is_member
        is_ending = self.failure is not None or leaves
        failure = _hopeless(learner) or (None if is_ending else _gives_up(learner))
        if isinstance(failure, LearnerFailure) and updates == learner.joined_at_updates:
            self._rejected = self._rejected or failure
        else:
            self.failure = self.failure or failure
        if failure is not None or is_ending:
            learner.done = True
        else:
            self._start_again(learner)

    def _start_again(self, learner: _Learner) -> None:
        spec, exitcode = learner.spec, learner.process.exitcode
        rank, coupling = spec.rank, spec.shared_coupling
        joins = spec.counters.get(rank, LearnerCounter.UPDATES) == learner.joined_at_updates
        donors = donors_of(spec)
        shares_all = isinstance(coupling, SharedParameters)
        nothing_newer = not (donors or shares_all or spec.mailboxes.version(rank))
        source = spec.checkpoint if nothing_newer else None
        try:
            again = _start(replace(spec, donors=donors, checkpoint=source, is_joining=joins))
        except LearnerFailure as error:
            learner.done = True
            self.failure = self.failure or error
            return
        release(learner.process)
        learner.spec, learner.process = again.spec, again.process
        learner.started_at_updates = again.started_at_updates
        learner.restarts += 1
        origin = "its own last state" if coupling is None else "the state of the others"
        origin = f"learner {donors[0]}" if donors else origin
        self._notices.append(
            f"learner {rank} died (exit code {exitcode}) and is restarted from {origin}"
        )


def _start(spec: LearnerSpec) -> _Learner:
    rank, counters = spec.rank, spec.counters
    counters.set(rank, LearnerCounter.HEARTBEAT_NS, time.monotonic_ns())
    counters.set(rank, LearnerCounter.DONE, 0)
    config = replace(spec.config, learners=counters.learners)
    spec = replace(spec, config=config, registry=registry_entries(config.env))
    try:
        process = fork_ready(run_learner, spec, f"{PROCESS_NAME}{rank}", _IMPORTS)
    except OSError as error:
        text = f"no process can be started for learner {rank}: {error}"
        raise LearnerFailure(text) from error
    updates = counters.get(rank, LearnerCounter.UPDATES)
    return _Learner(spec, process, updates, updates if spec.is_joining else None)


def _hopeless(learner: _Learner) -> RunFailure | None:
    """Why a learner that has ended so would end so again; None if another may do better."""
    spec, exitcode = learner.spec, learner.process.exitcode
    rank, folder = spec.rank, spec.folder
    if exitcode == STARTED_A_RUN:
        return UserError(
            "a learner that imported the program has started the run once more: put the call "
            "of gala_rl.train under if __name__ == '__main__':"
        )
    if exitcode == CANNOT_WRITE:
        return StorageError(
            f"learner {rank} cannot write to {folder.path}: {_room_in(folder.path)}"
        )
    return None


def _room_in(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path).free:,} bytes are free there"
    except OSError as error:
        return f"{error.strerror}"


def _gives_up(learner: _Learner) -> RunFailure | None:
    """Why nobody starts a learner once more that keeps dying; None if it need not be so."""
    spec = learner.spec
    if learner.deaths_in_a_row <= spec.config.max_restarts:
        return None
    name = f"learner {spec.rank} died {counted(learner.deaths_in_a_row, 'time')} without "
    name += f"making {_PROGRESS_UPDATES} updates"
    words = _last_words(spec)
    if learner.process.exitcode == REFUSED:
        why = words.splitlines()[-1].partition(": ")[2]
        log = spec.folder.log_file(spec.rank)
        return LearnerFailure(f"{name}: {why}; the traceback is in {log}")
    return LearnerFailure(
        f"{name} (exit code {learner.process.exitcode}); its log ends with:\n"
        f"{words}\n{_remedy(learner)}"
    )


def _remedy(learner: _Learner) -> str:
    """What to do before a learner that ends so can do better."""
    spec, exitcode = learner.spec, learner.process.exitcode
    if learner.hung:
        return (
            f"it built, reset or stepped no simulator for {spec.config.hang_after:g} s: if "
            f"one may take so long use a longer --hang-after, else see where the environment hangs"
        )
    if exitcode == -signal.SIGKILL:
        return "the system killed it, as it does when memory is short: use fewer simulators"
    if exitcode == 0 or (exitcode or 0) < 0:
        return (
            "its process ended without an exception, as when an environment calls os._exit or "
            "crashes: --simulator-processes N has simulators in processes that are replaced"
        )
    log = spec.folder.log_file(spec.rank)
    return f"mend what is above (all of it is in logs/{log.name}; --serial is for debuggers)"


def donors_of(spec: LearnerSpec) -> tuple[int, ...]:
    """Live learners that have sent something, those that the learner listens to first."""
    if spec.shared_coupling is not None:
        return ()
    rank, mailboxes = spec.rank, spec.mailboxes
    graph = graph_of(spec.config, spec.counters.learners)
    heard = graph.all_in_neighbours(rank)
    others = [r for r in range(graph.learners) if r not in (rank, *heard)]
    return tuple(
        r for r in (*heard, *others) if not mailboxes.is_down(r) and mailboxes.version(r) > 0
    )


def _last_words(spec: LearnerSpec) -> str:
    log = spec.folder.log_file(spec.rank)
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return "\n".join(text.splitlines()[-_TRACEBACK_LINES:]) or "(it is empty)"
