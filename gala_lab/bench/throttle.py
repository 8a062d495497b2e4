"""Slows processes down from outside, as other work on the same machine would."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence

PERIOD_S = 0.04
_JOIN_S = 10.0


class Throttle:
    """Lets processes run 1 / factor of the time: stops and continues them in turn, in a thread.

    Args:
        process_ids: processes to slow; one that has ended is skipped.
        factor: by which to slow them; 1 leaves them alone.
    """

    def __init__(self, process_ids: Sequence[int], factor: float) -> None:
        self._process_ids = process_ids
        self._running_s = PERIOD_S / factor
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._alternate, name="throttle", daemon=True)
        self._began_at = self._ended_at = self._stopped_s = 0.0

    def start(self) -> None:
        """Slow the processes from now on; `stop` must follow."""
        self._began_at = time.perf_counter()
        if self._process_ids and self._running_s < PERIOD_S:
            self._thread.start()

    def stop(self) -> None:
        """Let all of them run again; may be called twice, and without `start`."""
        if self._is_over.is_set():
            return
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        self._ended_at = time.perf_counter()

    @property
    def running_share(self) -> float:
        """Share of the time from start to stop that they were allowed to run, about 1 / factor."""
        elapsed = self._ended_at - self._began_at
        return 1.0 - self._stopped_s / elapsed if elapsed > 0 else 1.0

    def _alternate(self) -> None:
        while not self._is_over.wait(self._running_s):
            stopped_at = time.perf_counter()
            try:
                self._signal(signal.SIGSTOP)
                self._is_over.wait(PERIOD_S - self._running_s)
            finally:
                self._signal(signal.SIGCONT)
                self._stopped_s += time.perf_counter() - stopped_at

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._process_ids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
