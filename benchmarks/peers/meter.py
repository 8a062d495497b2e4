"""The stopwatch of all runners: warm-up, window, memory and processor time, the same for each."""

import argparse
import time
from dataclasses import dataclass

import psutil

_MIB = 2**20


@dataclass(frozen=True)
class Options:
    """The command line of every runner."""

    simulators: int
    seconds: float
    warm_up_seconds: float


def parser_with_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options that all runners share."""
    parser.add_argument("--simulators", type=int, default=32, help="of all processes together")
    parser.add_argument("--seconds", type=float, default=60.0, help="that are measured")
    parser.add_argument(
        "--warm-up-seconds", type=float, default=15.0, help="of training that are not measured"
    )
    return parser


def options_of(values: argparse.Namespace) -> Options:
    """The options that all runners share, among others."""
    return Options(values.simulators, values.seconds, values.warm_up_seconds)


@dataclass(frozen=True)
class Reading:
    """What a meter measured; the attributes are those of a result."""

    agent_steps: int
    seconds: float
    resident_mib: float
    cpu_utilisation: float


class Meter:
    """Measures a system that reports how many agent steps it has been trained on.

    The warm-up begins with the first trained step, so that no system pays for its start. The
    window begins and ends exactly where the count changes: a system that reports in large
    portions gains or loses nothing by it.

    Args:
        options: how long.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._trained = 0
        self._first_at: float | None = None
        self._start: tuple[float, int, float] | None = None
        self.reading: Reading | None = None
        """Set once the window is over."""

    def record(self, trained: int) -> bool:
        """Record the agent steps trained on so far; return whether that is enough."""
        now = time.perf_counter()
        if self.reading is not None or trained <= self._trained:
            return self.reading is not None
        self._trained = trained
        if self._first_at is None:
            self._first_at = now
        elif self._start is None:
            if now - self._first_at >= self._options.warm_up_seconds:
                self._start = (now, trained, _processor_seconds())
        elif now - self._start[0] >= self._options.seconds:
            self.reading = self._read(now, trained, self._start)
        return self.reading is not None

    def result(self) -> Reading:
        """The reading of a window that is over."""
        if self.reading is None:
            raise RuntimeError("training ended before the measurement did")
        return self.reading

    def _read(self, now: float, trained: int, start: tuple[float, int, float]) -> Reading:
        seconds = now - start[0]
        busy = _processor_seconds() - start[2]
        return Reading(
            agent_steps=trained - start[1],
            seconds=seconds,
            resident_mib=_resident_mib(),
            cpu_utilisation=busy / (seconds * _cores()),
        )


def _cores() -> int:
    return len(psutil.Process().cpu_affinity())


def _family() -> list[psutil.Process]:
    process = psutil.Process()
    return [process, *process.children(recursive=True)]


def _processor_seconds() -> float:
    total = 0.0
    for process in _family():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _resident_mib() -> float:
    """Proportional set size: a page that n processes share counts once, not n times."""
    total = 0
    for process in _family():
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / _MIB
