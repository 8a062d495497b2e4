"""What learners and their supervisor share about faults: when it all began, and who is stopped."""

import time

import torch

from gala_rl.gossip.transports.shared import shared_zeros

_ALL = 2**62
_KEPT_S = 10.0
"""A fault comes then even if nobody has told that it is written down where it outlives its node."""


class FaultClock:
    """Seconds since the run's first update; pass it to each process as an argument.

    Args:
        learners: number of learners.
        kept_bytes: of the file in which faults are written down, where the run's folder is on
            another machine: what is there already. Default: the file is the run's own.
    """

    def __init__(self, learners: int, kept_bytes: int | None = None) -> None:
        self._began_ns = shared_zeros((1,), torch.int64)
        self._stopped_until_ns = shared_zeros((learners,), torch.int64)
        self._kept_bytes = shared_zeros((1,), torch.int64)
        self._kept_bytes[0] = _ALL if kept_bytes is None else kept_bytes

    def elapsed_s(self) -> float:
        """Since the first call, by whichever learner."""
        now_ns = time.monotonic_ns()
        if not self._began_ns:
            self._began_ns[0] = now_ns
        return (now_ns - int(self._began_ns)) / 1e9

    def elapsed_if_begun_s(self) -> float | None:
        """The same; None before the first update."""
        return self.elapsed_s() if self._began_ns else None

    def begin_at(self, elapsed_s: float | None) -> None:
        """The first update is known to have been so long ago, or not to have been (None)."""
        if elapsed_s is not None:
            began_ns = time.monotonic_ns() - int(elapsed_s * 1e9)
            # Of several that know it the earliest is right: what they tell takes its time.
            self._began_ns[0] = min(began_ns, int(self._began_ns) or began_ns)

    def note_kept(self, size: int) -> None:
        """So many bytes of the file are in the run's folder."""
        self._kept_bytes[0] = size

    def wait_until_kept(self, size: int) -> None:
        """Let so many bytes of the file be in the run's folder, but don't wait for ever."""
        deadline = time.monotonic() + _KEPT_S
        while self._kept_bytes < size and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self, learner: int, seconds: float) -> None:
        """The learner is about to stop itself; somebody has to continue it then."""
        self._stopped_until_ns[learner] = time.monotonic_ns() + int(seconds * 1e9)

    def is_to_continue(self, learner: int) -> bool:
        """Whether it has been stopped for long enough."""
        return 0 < int(self._stopped_until_ns[learner]) <= time.monotonic_ns()

    def clear(self, learner: int) -> None:
        """It runs."""
        self._stopped_until_ns[learner] = 0
