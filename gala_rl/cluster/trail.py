"""How far a node's learners are when: looked at there, twenty times a second, once it is asked."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_LOOK_EVERY_S = 0.05
_MOST_LOOKS = 2_000
"""Of those that nobody has asked for; older ones are forgotten."""


class Looks(NamedTuple):
    """What a node has seen since it was asked last.

    Attributes:
        began_ns: when it began to look, which tells one life of a node from the next.
        told_s: the node's time now.
        taken: the node's time at each look, and agent steps of each of its learners.
    """

    began_ns: int
    told_s: float
    taken: list[tuple[float, list[int]]]


class Trail:
    """Looks at counters from a thread, as long as the process lives.

    Args:
        look: returns them.
    """

    def __init__(self, look: Callable[[], list[int]]) -> None:
        self._look = look
        self._began_ns = time.time_ns()
        self._taken: deque[tuple[float, list[int]]] = deque(maxlen=_MOST_LOOKS)
        threading.Thread(target=self._go_on, name="trail", daemon=True).start()

    def take(self) -> Looks:
        """What was seen since the last call."""
        taken = [self._taken.popleft() for _ in range(len(self._taken))]
        return Looks(self._began_ns, time.time(), taken)

    def _go_on(self) -> None:
        while True:
            self._taken.append((time.time(), self._look()))
            time.sleep(_LOOK_EVERY_S)
