"""Supervision of child processes: signs of life, kill and join, and a budget of restarts."""

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from gala_rl.processes.spawn import release, start_process

_JOIN_S = 10.0
"""A killed process ends within this time, unless the kernel waits for a device or a disk."""
_MAX_INTERVAL_S = 10.0

_Argument = TypeVar("_Argument")


class SilenceTimer:
    """Measures for how long a process has given no sign of life.

    A supervisor that was itself stopped (Ctrl-Z, a suspended machine) finds old signs of life when
    it continues, since its children were stopped too. So the time between two checks counts only
    up to a maximum.

    Args:
        max_interval_s: the most seconds that count between two checks.

    Attributes:
        silent_s: seconds without a sign of life, as of the last check.
    """

    def __init__(self, max_interval_s: float) -> None:
        self.silent_s = 0.0
        self._max_interval_s = max_interval_s
        self._heartbeat = 0
        self._checked_at = time.monotonic()

    def check(self, heartbeat: int) -> float:
        """Return `silent_s`; call it regularly.

        Args:
            heartbeat: the newest sign of life: any number that changes with each sign.
        """
        now = time.monotonic()
        interval_s, self._checked_at = now - self._checked_at, now
        self.silent_s += min(interval_s, self._max_interval_s)
        if heartbeat != self._heartbeat:
            self.restart()
        self._heartbeat = heartbeat
        return self.silent_s

    def restart(self) -> None:
        """Count from now on, as after a sign of life."""
        self.silent_s = 0.0


class SupervisedProcess:
    """A child process that can be checked for hangs and killed, and that ends with this process.

    Args:
        work: module-level function; calls `end_with_parent` first.
        argument: argument of `work`.
        name: name of the process.
        imports: see `start_process`.
        timeout_s: seconds without a sign of life after which the process is hung.
        leads_group: whether `work` calls `end_with_parent(leads_group=True)`; processes that it
            starts are then killed with it.

    Attributes:
        timeout_s: as given.
        silence: measures the time without a sign of life.

    Raises:
        OSError: if the system refuses to start a process.
    """

    def __init__(
        self,
        work: Callable[[_Argument], None],
        argument: _Argument,
        name: str,
        *,
        imports: str | None = None,
        timeout_s: float = math.inf,
        leads_group: bool = False,
    ) -> None:
        self.timeout_s = timeout_s
        self._leads_group = leads_group
        self._process = start_process(work, argument, name, imports)
        # After a suspension, a child that resumes still has most of its timeout left.
        self.silence = SilenceTimer(min(_MAX_INTERVAL_S, timeout_s / 4))

    @property
    def pid(self) -> int:
        """Process id."""
        pid = self._process.pid
        assert pid is not None, "it was started"
        return pid

    @property
    def exitcode(self) -> int | None:
        """Exit code, negative after a signal; None while the process is alive."""
        return self._process.exitcode

    def is_hung(self, heartbeat: int) -> bool:
        """Return whether the process has been silent for longer than its timeout.

        Args:
            heartbeat: see `SilenceTimer.check`.
        """
        return self.silence.check(heartbeat) > self.timeout_s

    def join(self, timeout_s: float) -> None:
        """Wait until the process has ended, but at most this long."""
        self._process.join(timeout_s)

    def release(self) -> None:
        """Forget a process that has ended; its descriptors are closed with the last reference."""
        release(self._process)

    def kill(self) -> bool:
        """Kill the process, with its group if it leads one, and release it.

        Returns:
            Whether it has ended; if not, it may still write to shared memory.
        """
        return end_all([self])

    def _send_kill(self) -> None:
        if self._leads_group:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()

    def _reap(self) -> bool:
        self._process.join(_JOIN_S)
        if self._process.exitcode is None:
            return False
        self.release()
        return True


def end_all(processes: Sequence[SupervisedProcess], grace_s: float = 0.0) -> bool:
    """Wait for processes to end, kill those that take longer, and release them all.

    Args:
        processes: the processes; some may have ended.
        grace_s: seconds for all of them to end by themselves.

    Returns:
        Whether all have ended.
    """
    deadline = time.monotonic() + grace_s
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        process._send_kill()
    have_ended = [process._reap() for process in processes]
    return all(have_ended)


@dataclass
class RestartBudget:
    """Counts the deaths of a child and decides whether it may be restarted.

    Attributes:
        max_restarts: the most restarts in a row.
        progress: progress of a process (rollouts, updates) after which earlier deaths are
            forgiven.
        deaths: deaths so far.
        deaths_in_a_row: deaths since a process last made enough progress, including its own.
    """

    max_restarts: int
    progress: int
    deaths: int = 0
    deaths_in_a_row: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether the child has died too often in a row to be restarted."""
        return self.deaths_in_a_row > self.max_restarts

    def count_death(self, progress: int) -> None:
        """Count the death of a process that had made this much progress."""
        if progress >= self.progress:
            self.deaths_in_a_row = 0
        self.deaths += 1
        self.deaths_in_a_row += 1
