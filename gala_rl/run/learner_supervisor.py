"""The learners of one machine: each in a process of its own, watched, restarted and stopped."""

import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from gala_rl.coupling import SharedParameters
from gala_rl.envs.registration import registered
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

    assignment: LearnerSpec
    process: BaseProcess
    started_at_updates: int
    joined_at_updates: int | None = None
    restarts: int = 0
    deaths_in_a_row: int = 0
    done: bool = False
    hung: bool = False


class LearnerSupervisor:
    """Starts a learner for each assignment and keeps them alive.

    Args:
        assignments: by rank.

    Attributes:
        failure: why the run has to be given up; None as long as it has not.

    Raises:
        LearnerFailure: when one cannot be started; then none is left.
    """

    def __init__(self, assignments: Iterable[LearnerSpec]) -> None:
        self.failure: RunFailure | None = None
        self._rejected: LearnerFailure | None = None
        self._notices: list[str] = []
        self._looked_at, self._woke_at = time.monotonic(), 0.0
        self._members: list[_Learner] = []
        try:
            self._members += (_start(assignment) for assignment in assignments)
        except BaseException:
            self.end()
            raise

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the learners as they are now, by rank; one that is restarted gets another."""
        pids = (member.process.pid for member in self._members)
        return tuple(pid for pid in pids if pid is not None)

    @property
    def done(self) -> bool:
        """Whether all learners have ended for good."""
        return all(member.done for member in self._members)

    @property
    def alive(self) -> list[bool]:
        """Whether each learner is."""
        return [member.process.exitcode is None for member in self._members]

    @property
    def restarts(self) -> list[int]:
        """Of each learner."""
        return [member.restarts for member in self._members]

    def has_let_go(self, learners: int) -> bool:
        """Whether of all others than the first so many none is at work any more."""
        return all(m.done for m in self._members if m.assignment.rank >= learners)

    def is_at_work(self, rank: int) -> bool:
        """Whether a learner has been started and not ended for good."""
        return any(m.assignment.rank == rank and not m.done for m in self._members)

    def join(self, assignment: LearnerSpec) -> None:
        """Start one more learner, or one again that has left, with what a live one has sent."""
        rank, board = assignment.rank, assignment.board
        assignment.mailboxes.set_down(rank, True)
        board.set(rank, LearnerCounter.LEARNERS, 0)
        # A checkpoint in the making goes without it.
        board.set(rank, LearnerCounter.CHECKPOINT_WRITTEN, board.checkpoint_wanted)
        donors = donors_of(assignment)
        try:
            new = _start(replace(assignment, donors=donors, checkpoint=None, joins=True))
        except LearnerFailure as error:
            self._rejected = self._rejected or error
            return
        for place, member in enumerate(self._members):
            if member.assignment.rank == rank:
                release(member.process)
                new.restarts = member.restarts
                self._members[place] = new
                return
        self._members.append(new)

    def take_rejected(self) -> LearnerFailure | None:
        """Why learners that were to join cannot, since the last call; None if they can."""
        rejected, self._rejected = self._rejected, None
        return rejected

    def take_notices(self) -> list[str]:
        """What has happened since the last call, a line each."""
        notices, self._notices = self._notices, []
        return notices

    def look_after(self) -> None:
        """See who has ended, died or hangs, and start again who is still needed."""
        now = time.monotonic()
        if now - self._looked_at > _PAUSE_S:
            self._woke_at = now
        self._looked_at = now
        for member in self._members:
            if not member.done:
                self._look_after(member, now)

    def end(self) -> None:
        """Kill who still lives; no process is left."""
        for member in self._members:
            member.process.kill()
        for member in self._members:
            member.process.join(_JOIN_S)
            release(member.process)

    def _look_after(self, member: _Learner, now: float) -> None:
        assignment, process = member.assignment, member.process
        rank, board, mailboxes = assignment.rank, assignment.board, assignment.mailboxes
        exitcode = process.exitcode
        sign_of_life = max(board.get(rank, LearnerCounter.HEARTBEAT_NS) / 1e9, self._woke_at)
        patience = assignment.config.hang_after
        if exitcode is None and now - sign_of_life > patience:
            self._notices.append(f"learner {rank} gave no sign of life for {patience:g} s: killed")
            member.hung = True
            process.kill()
            process.join(_JOIN_S)
            if (exitcode := process.exitcode) is None:
                member.done = True
                end = LearnerFailure(f"learner {rank} hangs, and cannot be killed")
                self.failure = self.failure or end
        updates = board.get(rank, LearnerCounter.UPDATES)
        if exitcode is None:
            if mailboxes.is_down(rank) and updates > member.started_at_updates:
                mailboxes.set_down(rank, False)
            return
        # Nobody need wait for it any longer.
        mailboxes.set_down(rank, True)
        # A simulator may end its process without an error, or crash it when it is closed.
        if board.get(rank, LearnerCounter.DONE) and exitcode != CANNOT_WRITE:
            member.done = True
        else:
            self._on_death(member, updates)

    def _on_death(self, member: _Learner, updates: int) -> None:
        """Restart a dead learner, or give up on it if it keeps dying."""
        if updates - member.started_at_updates >= _PROGRESS_UPDATES:
            member.deaths_in_a_row = 0
        member.deaths_in_a_row += 1
        assignment = member.assignment
        leaves = assignment.board.stop or not assignment.is_member
        is_ending = self.failure is not None or leaves
        failure = _hopeless(member) or (None if is_ending else _gives_up(member))
        if isinstance(failure, LearnerFailure) and updates == member.joined_at_updates:
            self._rejected = self._rejected or failure
        else:
            self.failure = self.failure or failure
        if failure is not None or is_ending:
            member.done = True
        else:
            self._start_again(member)

    def _start_again(self, member: _Learner) -> None:
        assignment, exitcode = member.assignment, member.process.exitcode
        rank, common = assignment.rank, assignment.common
        joins = assignment.board.get(rank, LearnerCounter.UPDATES) == member.joined_at_updates
        donors = donors_of(assignment)
        shares_all = isinstance(common, SharedParameters)
        nothing_newer = not (donors or shares_all or assignment.mailboxes.version(rank))
        source = assignment.checkpoint if nothing_newer else None
        try:
            again = _start(replace(assignment, donors=donors, checkpoint=source, joins=joins))
        except LearnerFailure as error:
            member.done = True
            self.failure = self.failure or error
            return
        release(member.process)
        member.assignment, member.process = again.assignment, again.process
        member.started_at_updates = again.started_at_updates
        member.restarts += 1
        origin = "its own last state" if common is None else "the state of the others"
        origin = f"learner {donors[0]}" if donors else origin
        self._notices.append(
            f"learner {rank} died (exit code {exitcode}) and is restarted from {origin}"
        )


def _start(assignment: LearnerSpec) -> _Learner:
    rank, board = assignment.rank, assignment.board
    board.set(rank, LearnerCounter.HEARTBEAT_NS, time.monotonic_ns())
    board.set(rank, LearnerCounter.DONE, 0)
    config = replace(assignment.config, learners=board.learners)
    assignment = replace(assignment, config=config, registered=registered(config.env))
    try:
        process = fork_ready(run_learner, assignment, f"{PROCESS_NAME}{rank}", _IMPORTS)
    except OSError as error:
        text = f"no process can be started for learner {rank}: {error}"
        raise LearnerFailure(text) from error
    updates = board.get(rank, LearnerCounter.UPDATES)
    return _Learner(assignment, process, updates, updates if assignment.joins else None)


def _hopeless(member: _Learner) -> RunFailure | None:
    """Why a learner that has ended so would end so again; None if another may do better."""
    assignment, exitcode = member.assignment, member.process.exitcode
    rank, folder = assignment.rank, assignment.folder
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


def _gives_up(member: _Learner) -> RunFailure | None:
    """Why nobody starts a learner once more that keeps dying; None if it need not be so."""
    assignment = member.assignment
    if member.deaths_in_a_row <= assignment.config.max_restarts:
        return None
    name = f"learner {assignment.rank} died {counted(member.deaths_in_a_row, 'time')} without "
    name += f"making {_PROGRESS_UPDATES} updates"
    words = _last_words(assignment)
    if member.process.exitcode == REFUSED:
        why = words.splitlines()[-1].partition(": ")[2]
        log = assignment.folder.log_file(assignment.rank)
        return LearnerFailure(f"{name}: {why}; the traceback is in {log}")
    return LearnerFailure(
        f"{name} (exit code {member.process.exitcode}); its log ends with:\n"
        f"{words}\n{_remedy(member)}"
    )


def _remedy(member: _Learner) -> str:
    """What to do before a learner that ends so can do better."""
    assignment, exitcode = member.assignment, member.process.exitcode
    if member.hung:
        return (
            f"it built, reset or stepped no simulator for {assignment.config.hang_after:g} s: if "
            f"one may take so long use a longer --hang-after, else see where the environment hangs"
        )
    if exitcode == -signal.SIGKILL:
        return "the system killed it, as it does when memory is short: use fewer simulators"
    if exitcode == 0 or (exitcode or 0) < 0:
        return (
            "its process ended without an exception, as when an environment calls os._exit or "
            "crashes: --simulator-processes N has simulators in processes that are replaced"
        )
    log = assignment.folder.log_file(assignment.rank)
    return f"mend what is above (all of it is in logs/{log.name}; --serial is for debuggers)"


def donors_of(assignment: LearnerSpec) -> tuple[int, ...]:
    """Live learners that have sent something, those that the learner listens to first."""
    if assignment.common is not None:
        return ()
    rank, mailboxes = assignment.rank, assignment.mailboxes
    graph = graph_of(assignment.config, assignment.board.learners)
    heard = graph.all_in_neighbours(rank)
    others = [r for r in range(graph.learners) if r not in (rank, *heard)]
    return tuple(
        r for r in (*heard, *others) if not mailboxes.is_down(r) and mailboxes.version(r) > 0
    )


def _last_words(assignment: LearnerSpec) -> str:
    log = assignment.folder.log_file(assignment.rank)
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return "\n".join(text.splitlines()[-_TRACEBACK_LINES:]) or "(it is empty)"
