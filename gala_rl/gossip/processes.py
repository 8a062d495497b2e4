"""Runs a training loop of the user's in a process per learner, and restarts those that die."""

import time
from collections.abc import Callable
from typing import Any

from gala_rl.errors import LearnerFailure
from gala_rl.gossip.transports.shared import SharedMailboxes
from gala_rl.processes.spawn import end_with_parent
from gala_rl.processes.supervised import SupervisedProcess, end_all

_POLL_EVERY_S = 0.05

Learn = Callable[..., None]
"""Called as `learn(rank, mailboxes, *arguments)`."""

_Work = tuple[Learn, int, SharedMailboxes, tuple[Any, ...]]


class LearnerProcesses:
    """Calls a function in one process per learner; use as a context manager, which ends them.

        with LearnerProcesses(learn, SharedMailboxes(2, size), "CartPole-v1") as learners:
            learners.wait()

    A learner that dies is marked as dead for its neighbours and started again. It finds its last
    message with `mailboxes.latest(rank)` and continues from it with `Gossip.resume`.

    Args:
        learn: function at the top of a module, called as `learn(rank, mailboxes, *arguments)`.
        mailboxes: mailboxes of all learners.
        arguments: further arguments of `learn`; they are pickled.
        max_restarts: how often each learner may be started again.

    Attributes:
        restarts: number of restarts per learner.
    """

    def __init__(
        self, learn: Learn, mailboxes: SharedMailboxes, *arguments: Any, max_restarts: int = 3
    ) -> None:
        self.restarts = [0] * mailboxes.learners
        self._mailboxes, self._max_restarts = mailboxes, max_restarts
        self._work: list[_Work] = [
            (learn, rank, mailboxes, arguments) for rank in range(mailboxes.learners)
        ]
        self._processes: list[SupervisedProcess] = []

    def __enter__(self) -> "LearnerProcesses":
        """Start all learners."""
        try:
            for rank in range(self._mailboxes.learners):
                self._processes.append(self._start(rank))
        except BaseException:
            end_all(self._processes)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the learners that are still running."""
        end_all(self._processes)

    @property
    def pids(self) -> list[int]:
        """Current process id per learner."""
        return [process.pid for process in self._processes]

    def poll(self) -> bool:
        """Start learners that have died again; return whether any learner is running.

        Raises:
            LearnerFailure: when one has died too often; its tracebacks are on standard error.
        """
        codes = [process.exitcode for process in self._processes]
        for rank, code in enumerate(codes):
            if code not in (None, 0):
                self._restart(rank, f"learner {rank} ended with exit code {code}")
        return codes.count(0) < len(codes)

    def wait(self) -> None:
        """Wait until all learners have returned from `learn`.

        Raises:
            LearnerFailure: as `poll`.
        """
        while self.poll():
            time.sleep(_POLL_EVERY_S)

    def _start(self, rank: int) -> SupervisedProcess:
        return SupervisedProcess(_call, self._work[rank], f"learner {rank}")

    def _restart(self, rank: int, how: str) -> None:
        self._mailboxes.set_down(rank, True)
        if self.restarts[rank] >= self._max_restarts:
            raise LearnerFailure(f"{how} after {self.restarts[rank]} restarts")
        self._processes[rank].release()
        self.restarts[rank] += 1
        self._processes[rank] = self._start(rank)
        self._mailboxes.set_down(rank, False)


def _call(work: _Work) -> None:
    end_with_parent()
    learn, rank, mailboxes, arguments = work
    learn(rank, mailboxes, *arguments)
