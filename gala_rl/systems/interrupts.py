"""Ctrl-C and SIGTERM: the first asks for a clean stop, the second stops at once."""

import signal
import threading
from types import FrameType, TracebackType


class Interrupts:
    """Counts interrupts while its `with` block runs, instead of raising in the middle of a step.

    Outside the main thread signals cannot be caught, and it counts none.
    """

    def __init__(self) -> None:
        self.count = 0
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._count_one)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _count_one(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
