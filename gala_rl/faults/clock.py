"""Shared memory for fault injection: the run's clock, and until when learners are stopped."""

import time

import torch

from gala_rl.gossip.transports.shared import shared_zeros

_ALL = 2**62
_MAX_WAIT_S = 10.0
"""Longest wait for the row of a fault to be copied to the driver before the fault happens."""


class FaultClock:
    """Counts seconds since the run's first update; pass it to each process as an argument.

    Args:
        learners: number of learners.
        copied_bytes: bytes of the fault log that have been copied to the run's folder, if that is
            on another machine. Default: the log is in the run's folder.
    """

    def __init__(self, learners: int, copied_bytes: int | None = None) -> None:
        self._start_ns = shared_zeros((1,), torch.int64)
        self._stopped_until_ns = shared_zeros((learners,), torch.int64)
        self._copied_bytes = shared_zeros((1,), torch.int64)
        self._copied_bytes[0] = _ALL if copied_bytes is None else copied_bytes

    def elapsed_s(self) -> float:
        """Return the seconds since the first call by any learner."""
        now_ns = time.monotonic_ns()
        if not self._start_ns:
            self._start_ns[0] = now_ns
        return (now_ns - int(self._start_ns)) / 1e9

    def elapsed_if_started_s(self) -> float | None:
        """Return the seconds since the first call of `elapsed_s`, None before it."""
        return self.elapsed_s() if self._start_ns else None

    def start_at(self, elapsed_s: float | None) -> None:
        """Set the clock to this many seconds, unless it is ahead; None: do nothing."""
        if elapsed_s is not None:
            start_ns = time.monotonic_ns() - int(elapsed_s * 1e9)
            # The earliest of several reports is right, since each took some time to arrive.
            self._start_ns[0] = min(start_ns, int(self._start_ns) or start_ns)

    def record_copied(self, size: int) -> None:
        """Record that this many bytes of the fault log are in the run's folder."""
        self._copied_bytes[0] = size

    def wait_until_copied(self, size: int) -> None:
        """Wait until this many bytes of the fault log are in the run's folder, or a timeout."""
        deadline = time.monotonic() + _MAX_WAIT_S
        while self._copied_bytes < size and time.monotonic() < deadline:
            time.sleep(0.005)

    def record_stop(self, learner: int, seconds: float) -> None:
        """Record that a learner is about to stop itself, so that its supervisor continues it."""
        self._stopped_until_ns[learner] = time.monotonic_ns() + int(seconds * 1e9)

    def is_stop_over(self, learner: int) -> bool:
        """Return whether a learner has been stopped for long enough."""
        return 0 < int(self._stopped_until_ns[learner]) <= time.monotonic_ns()

    def record_running(self, learner: int) -> None:
        """Record that a learner is not stopped."""
        self._stopped_until_ns[learner] = 0
