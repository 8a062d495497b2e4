"""Handles Ctrl-C, SIGTERM and SIGHUP: the first requests a clean stop, a second stops at once."""

import signal
import threading
from types import FrameType, TracebackType


class Interrupts:
    """Counts interrupts during a `with` block; only the second one raises KeyboardInterrupt.

    A closed terminal may send SIGHUP twice, so a second SIGHUP does not stop at once. A program
    that was started to ignore SIGHUP, for example by `nohup`, continues to.

    Outside the main thread signals cannot be handled, and the count stays 0.
    """

    def __init__(self) -> None:
        self.count = 0
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM]
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                numbers.append(signal.SIGHUP)
            for number in numbers:
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
        if number == signal.SIGHUP and self.count:
            return
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
