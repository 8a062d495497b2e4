"""Records when this process last made progress, for its supervisor to read.

Small steps count: a simulator built, reset or stepped, a minibatch learned from, a check in a wait
that has its own timeout. So an update may take as long as it needs.
"""

import time

import numpy as np
from numpy.typing import NDArray

_shown: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
"""[1] where the time is written; in private memory until `set_heartbeat` is called."""


def set_heartbeat(place: NDArray[np.int64]) -> None:
    """Write the heartbeat to shared memory from now on, and beat once.

    Args:
        place: [1] nanoseconds of the monotonic clock.
    """
    _shown[0] = place
    beat()


def beat() -> None:
    """Record that this process makes progress; takes a fraction of a microsecond."""
    _shown[0][0] = time.monotonic_ns()
