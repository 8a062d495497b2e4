"""What learners and their supervisor share about faults: when it all began, and who is stopped."""

import time

import torch

from gala_rl.gossip.transports.shared import shared_zeros


class FaultClock:
    """Seconds since the run's first update; pass it to each process as an argument.

    Args:
        learners: number of learners.
    """

    def __init__(self, learners: int) -> None:
        self._began_ns = shared_zeros((1,), torch.int64)
        self._stopped_until_ns = shared_zeros((learners,), torch.int64)

    def elapsed_s(self) -> float:
        """Since the first call, by whichever learner."""
        now_ns = time.monotonic_ns()
        if not self._began_ns:
            self._began_ns[0] = now_ns
        return (now_ns - int(self._began_ns)) / 1e9

    def stop(self, learner: int, seconds: float) -> None:
        """The learner is about to stop itself; somebody has to continue it then."""
        self._stopped_until_ns[learner] = time.monotonic_ns() + int(seconds * 1e9)

    def is_to_continue(self, learner: int) -> bool:
        """Whether it has been stopped for long enough."""
        return 0 < int(self._stopped_until_ns[learner]) <= time.monotonic_ns()

    def clear(self, learner: int) -> None:
        """It runs."""
        self._stopped_until_ns[learner] = 0
