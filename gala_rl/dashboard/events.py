"""The timeline of a run: deaths, restarts, joins, faults, rejected messages, starts and ends."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gala_rl.dashboard.clock import seconds_of
from gala_rl.decode import Number, fits
from gala_rl.errors import counted
from gala_rl.faults.log import notice as fault_text
from gala_rl.records.metrics import Row

MOST_EVENTS = 500
"""The newest are kept."""

_MERGED_S = 60.0
"""Rejected messages of a learner count as one event if less than this lies between two rows."""
_MOST_TEXT = 300
_OF_LEARNER = re.compile(r"learner (\d+) (died|gave no sign of life)")

_ELSEWHERE = ("fault ", "learners: ")
"""Notices that begin so are read from the log of faults and from `config.json`."""

_COUNTED = {
    "simulator_failures": ("simulator", "simulator failure", "simulator failures"),
    "actor_restarts": ("simulator", "actor restart", "actor restarts"),
    "overdue": ("rejected", "wait for a neighbour given up", "waits for a neighbour given up"),
}
"""Kind of event, and its name for one and for several, by counter in a learner's rows."""


@dataclass
class Event:
    """Something that happened.

    Attributes:
        time: seconds since 1970.
        kind: run, death, member, fault, rejected, simulator, defect or notice.
        text: what happened, one line.
        learner: rank of the learner, if it happened to one.
        until: time of the last occurrence, if it is counted.
        count: number of occurrences.
    """

    time: float
    kind: str
    text: str
    learner: int | None = None
    until: float = 0.0
    count: int = 1


class Timeline:
    """Collects events from the files of a run.

    Attributes:
        deaths: time of the last death, per learner.
        alive: whether the learners' processes were alive in the newest row of events.
        restarts: number of restarts, per learner.
    """

    def __init__(self) -> None:
        self.deaths: dict[int, float] = {}
        self.alive: list[bool] = []
        self.restarts: defaultdict[int, int] = defaultdict(int)
        self._before: list[int] = []
        self._counts: dict[tuple[int, str], int] = {}
        self._open: dict[tuple[int, str], Event] = {}
        self._events: list[Event] = []
        self._of_run: list[Event] = []

    def newest(self) -> list[Event]:
        """Return the newest events in the order of their times."""
        events = sorted([*self._events, *self._of_run], key=lambda event: event.time)
        return events[-MOST_EVENTS:]

    def add_event_rows(self, rows: Iterable[Row]) -> None:
        """Add valid rows of `metrics/events.jsonl`."""
        for row in rows:
            died = set()
            for rank, count in enumerate(row["restarts"]):
                new = count - (self._before[rank] if rank < len(self._before) else 0)
                if new > 0:
                    died.add(rank)
                    self.restarts[rank] += new
                    self.deaths[rank] = row["time"]
            for text in row["notices"]:
                found = _OF_LEARNER.match(text)
                if found is not None:
                    died.discard(int(found[1]))
                    self._add(row["time"], "death", text, int(found[1]))
                elif not text.startswith(_ELSEWHERE):
                    kind = "defect" if text.startswith("DEFECT") else "notice"
                    self._add(row["time"], kind, text)
            for rank in sorted(died):
                self._add(row["time"], "death", f"learner {rank} died and was restarted", rank)
            self._before, self.alive = row["restarts"], row["alive"]

    def add_fault_rows(self, rows: Iterable[Row]) -> None:
        """Add valid rows of `metrics/faults.jsonl`."""
        for row in rows:
            if fits(Number, row.get("time")):
                self._add(row["time"], "fault", fault_text(row), row.get("learner"))

    def add_learner_rows(self, rows: Sequence[Row]) -> None:
        """Add what counters in valid rows of a learner tell."""
        for row in rows:
            for name, (kind, one, many) in _COUNTED.items():
                total = row.get(name, 0)
                if type(total) is int and (event := self._count(row, name, total, kind)):
                    what = one if event.count == 1 else many
                    event.text = f"learner {event.learner}: {event.count:,} {what}"
            for reason, total in row["rejected"].items():
                if event := self._count(row, f"rejected {reason}", total, "rejected"):
                    messages = counted(event.count, "message")
                    event.text = f"learner {event.learner} rejected {messages}: {reason}"

    def set_run(self, config: Mapping[str, Any], ended: Event | None) -> None:
        """Replace the events of starts, resumes, changes of the number of learners, and the end."""
        self._of_run = list(_run_events(config))
        if ended is not None:
            self._of_run.append(ended)

    def _add(self, time: float, kind: str, text: str, learner: int | None = None) -> Event:
        text = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} …"
        event = Event(time, kind, text, learner, until=time)
        self._events.append(event)
        if len(self._events) > 2 * MOST_EVENTS:
            del self._events[:MOST_EVENTS]
        return event

    def _count(self, row: Row, name: str, total: int, kind: str) -> Event | None:
        """Return the event to which a counter's growth was added; None if it has not grown."""
        key, time = (row["learner"], name), float(row["time"])
        new = total - self._counts.get(key, 0)
        self._counts[key] = total
        if new <= 0:
            return None
        event = self._open.get(key)
        if event is None or time - event.until > _MERGED_S:
            self._open[key] = event = self._add(time, kind, "", row["learner"])
            event.count = 0
        event.until = time
        event.count += new
        return event


def _run_events(config: Mapping[str, Any]) -> Iterator[Event]:
    started = seconds_of(config.get("started"))
    if started is not None:
        yield Event(started, "run", "run started")
    for resume in _dictionaries(config.get("resumes")):
        time = seconds_of(resume.get("started"))
        if time is not None:
            yield Event(time, "run", "run resumed")
    for change in _dictionaries(config.get("scales")):
        time, before, after = seconds_of(change.get("time")), change.get("from"), change.get("to")
        if time is not None and isinstance(before, int) and isinstance(after, int):
            verb = "joined" if after > before else "left"
            many = counted(abs(after - before), "learner")
            yield Event(time, "member", f"{many} {verb}: {before} before, {after} now")


def _dictionaries(value: object) -> list[dict[str, Any]]:
    """Return the dictionaries in a value if it is a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
