"""Passes metrics to sinks, each in a thread of its own, so that none can stop a run."""

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from queue import SimpleQueue
from reprlib import repr as short
from typing import Any

from gala_rl.sinks.sink import Scalars, Sink

DEADLINE_S = 60.0
"""Longest time for one call of a sink, and for everything that is left at the end of a run."""

_MOST_WAITING = 10_000
"""Rows that may wait for a sink which is slower than the run."""

_CALLS = ("start", "row", "close")


class SinkThread:
    """Calls one sink in a thread of its own, until it fails.

    Args:
        name: what the user calls it, for messages.
        sink: the sink.
        deadline_s: see `DEADLINE_S`.
    """

    def __init__(self, name: str, sink: Sink, deadline_s: float = DEADLINE_S) -> None:
        self._name, self._sink, self._deadline_s = name, sink, deadline_s
        self._calls: SimpleQueue[tuple[str, tuple[Any, ...]]] = SimpleQueue()
        self._failure: str | None = None
        self._is_told = False
        self._called_at: float | None = None
        # A daemon: a program may end although a sink hangs.
        self._thread = threading.Thread(target=self._work, name=f"sink {name}", daemon=True)

    def start(self, config: Mapping[str, Any]) -> None:
        """Start the thread and the sink."""
        self._calls.put(("start", (config,)))
        self._thread.start()

    def row(self, row: Scalars) -> None:
        """Pass a row to the sink; returns at once."""
        if self._failure is None:
            self._calls.put(("row", (row,)))
        if self._calls.qsize() > _MOST_WAITING:
            self._failure = f"{_MOST_WAITING:,} rows are waiting for it"

    def take_notice(self) -> str | None:
        """Return a line about the failure of the sink, once; None if it has not failed."""
        called_at = self._called_at
        if called_at is not None and time.monotonic() - called_at > self._deadline_s:
            self._failure = self._failure or f"it did not return for {self._deadline_s:g} s"
        if self._failure is None or self._is_told:
            return None
        self._is_told = True
        return f"{self._name} failed ({self._failure}): the run goes on without it"

    def close(self) -> None:
        """Close the sink, and wait for what it has left to do, up to the deadline."""
        self._calls.put(("close", ()))
        self._thread.join(0.0 if self._failure is not None else self._deadline_s)
        if self._thread.is_alive():
            self._failure = self._failure or f"it was not done {self._deadline_s:g} s after the end"

    def _work(self) -> None:
        call = ""
        while self._failure is None and call != "close":
            call, arguments = self._calls.get()
            self._called_at = time.monotonic()
            try:
                getattr(self._sink, call)(*arguments)
            # Trackers raise all kinds of exceptions, and may even try to end the program.
            except BaseException as error:
                self._failure = f"{call}: {type(error).__name__}: {error}"
            self._called_at = None
        if call == "row":
            with suppress(BaseException):
                self._sink.close()


class Sinks:
    """All sinks of a run; an error in one of them changes nothing for the others.

    Args:
        sinks: sinks by what the user calls them, for messages.
        deadline_s: see `DEADLINE_S`.
    """

    def __init__(
        self, sinks: Iterable[tuple[str, Sink]] = (), deadline_s: float = DEADLINE_S
    ) -> None:
        self._threads = [SinkThread(name, sink, deadline_s) for name, sink in sinks]

    def start(self, config: Mapping[str, Any]) -> None:
        """Start all sinks; `config` as for `Sink.start`."""
        for thread in self._threads:
            thread.start(config)

    def row(self, row: Scalars) -> None:
        """Pass a row to all sinks; returns at once."""
        for thread in self._threads:
            thread.row(row)

    def take_notices(self) -> list[str]:
        """Return a line about each sink that has failed since the last call."""
        notices = [thread.take_notice() for thread in self._threads]
        return [notice for notice in notices if notice is not None]

    def close(self) -> None:
        """Close all sinks, and wait for each up to the deadline."""
        for thread in self._threads:
            thread.close()


def sink_faults(sink: object) -> str | None:
    """Return why an object is not a sink, in one line; None if it is one."""
    missing = [name for name in _CALLS if not callable(getattr(sink, name, None))]
    if isinstance(sink, type):
        return f"sink {sink.__name__} is a class: give an object, {sink.__name__}(…)"
    if missing:
        return f"sink {short(sink)} has no function {missing[0]}: a sink has {', '.join(_CALLS)}"
    return None
