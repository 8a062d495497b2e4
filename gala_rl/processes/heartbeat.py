"""The sign of life of this process: when it last got a step further, for its supervisor to read.

What counts is the smallest step: a simulator built, reset or stepped, a minibatch learned from, a
look at something that is waited for and has a limit of its own. An update may take as long as it
takes.
"""

import time

import numpy as np
from numpy.typing import NDArray

_shown: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
"""Where the time is written, a number; at first nobody else reads it."""


def beat_in(place: NDArray[np.int64]) -> None:
    """Show this process's signs of life in shared memory from now on, beginning with one.

    Args:
        place: [1] gets nanoseconds of the monotonic clock.
    """
    _shown[0] = place
    beat()


def beat() -> None:
    """Show that this process got a step further; it costs a fraction of a microsecond."""
    _shown[0][0] = time.monotonic_ns()
