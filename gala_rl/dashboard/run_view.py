"""What the page shows of one run, read from its folder; nothing is ever written there."""

import itertools
import math
import time
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from gala_rl.dashboard.clock import TrainingClock, is_plausible
from gala_rl.dashboard.edges import Traffic, planned_edges
from gala_rl.dashboard.events import Timeline
from gala_rl.dashboard.row_file import RowFile
from gala_rl.dashboard.run_info import RunInfo
from gala_rl.dashboard.series import DISTANCES, GAUGES, PROGRESS, Series
from gala_rl.dashboard.table import Table
from gala_rl.decode import Count, Number, fits
from gala_rl.faults.log import fault_rows
from gala_rl.records.event_log import event_rows
from gala_rl.records.metrics import Row
from gala_rl.records.run_folder import RunFolder

_ROWS_IN_ALL, _FEWEST_ROWS, _MOST_ROWS = 20_000, 300, 2_500
"""Rows of learners that are read of what exists: in all, and limits per learner."""
_DISTANCE_ROWS, _EVENT_ROWS = 1_000, 5_000
_LEARNER_TAIL, _DISTANCE_TAIL, _EVENT_TAIL = 1 << 15, 1 << 19, 1 << 19
_LARGEST = 10**18
"""Larger counts are damage."""
_COLUMNS = (*PROGRESS, *GAUGES)


class _TimedRow(TypedDict):
    time: Number


class _Learner:
    """One learner's file, its curves and its newest row."""

    def __init__(self, path: Path, budget: int) -> None:
        self.file = RowFile(path, budget, _LEARNER_TAIL)
        self.series = Series(_COLUMNS, budget)
        self.latest: Row = {}


class RunView:
    """Reads a run's folder again and again.

    Args:
        path: folder of the run.
        name: name on the page.

    Attributes:
        name: as given.
        path: as given.
        info: settings and end of the run.
        table: the curves.
        generation: grows whenever all curves have to be sent again.
        version: grows with each new row.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name, self.path = name, path
        self._folder = RunFolder(path)
        self.info = RunInfo(self._folder)
        self.generation = self.version = 0
        self._reset()

    def _reset(self) -> None:
        folder = self._folder
        self.table = Table()
        self.generation += 1
        self._learners: dict[int, _Learner] = {}
        self._timeline = Timeline()
        self._traffic = Traffic()
        self._distances = Series(DISTANCES, _DISTANCE_ROWS)
        self._clock = TrainingClock(0.0)
        self._distance_file = RowFile(folder.consensus_file, _DISTANCE_ROWS, _DISTANCE_TAIL)
        self._event_file = RowFile(folder.events_file, _EVENT_ROWS, _EVENT_TAIL)
        self._fault_file = RowFile(folder.faults_file, _EVENT_ROWS, _EVENT_TAIL)
        self._planned: list[tuple[int, int]] = []
        self._are_settings_new = True

    def refresh(self) -> None:
        """Read what is new in the folder."""
        before = self.info.starts[:1]
        if self.info.refresh():
            self._are_settings_new = True
            if self.info.starts[:1] != before:  # Another run in the same folder.
                self._reset()
        if not self._read_rows():
            # A file was replaced, as by `gala resume`: earlier rows may be obsolete.
            self._reset()
            self._read_rows()

    def _read_rows(self) -> bool:
        """Read new rows; return whether earlier ones are still valid."""
        now = time.time()
        start = min(self.info.starts, default=-math.inf)
        is_new = False
        for rank, learner in self._known_learners().items():
            rows, is_replaced = learner.file.new_rows()
            if is_replaced:
                return False
            valid = [r for r in rows if _is_of_learner(r, rank) and is_plausible(r, start, now)]
            is_new = self._add_learner_rows(learner, valid) or is_new
        for file, add in (
            (self._distance_file, self._add_distances),
            (self._event_file, lambda rows: self._timeline.add_event_rows(event_rows(rows))),
            (self._fault_file, lambda rows: self._timeline.add_fault_rows(fault_rows(rows))),
        ):
            rows, is_replaced = file.new_rows()
            if is_replaced:
                return False
            timed = [r for r in rows if fits(_TimedRow, r) and is_plausible(r, start, now)]
            add(timed)
            is_new = is_new or bool(timed)
        if self._are_settings_new:
            self._use_settings()
        elif not is_new:
            return True
        self.version += 1
        series = [learner.series for _, learner in sorted(self._learners.items())]
        self._clock.find_pauses([s.times for s in series])
        self.table.update(series, self._distances, self._clock)
        return True

    def _known_learners(self) -> dict[int, _Learner]:
        files = {int(f.stem.removeprefix("learner_")): f for f in self._folder.metrics_files()}
        new = files.keys() - self._learners.keys()
        if new:
            budget = min(max(_ROWS_IN_ALL // len(files), _FEWEST_ROWS), _MOST_ROWS)
            self._learners |= {rank: _Learner(files[rank], budget) for rank in sorted(new)}
        return self._learners

    def _add_learner_rows(self, learner: _Learner, rows: list[Row]) -> bool:
        if not rows:
            return False
        before = learner.latest.get("agent_steps", -1)
        learner.series.add(rows)
        learner.latest = rows[-1]
        self._timeline.add_learner_rows(rows)
        steps = [before, *(row["agent_steps"] for row in rows)]
        if any(late <= early for early, late in itertools.pairwise(steps)):
            learner.series.drop_repeated("agent_steps")
            self._send_curves_again()
        return True

    def _add_distances(self, rows: list[Row]) -> None:
        self._distances.add(rows)
        self._traffic.add(rows)

    def _send_curves_again(self) -> None:
        self.table.clear()
        self.generation += 1

    def _use_settings(self) -> None:
        self._are_settings_new = False
        starts = self.info.starts
        self._clock = TrainingClock(self._start(), starts[1:])
        self._timeline.set_run(self.info.content, self.info.end())
        self._planned = planned_edges(self.info.config, self._folder.topology_file)
        self._send_curves_again()

    def _start(self) -> float:
        """Return when the run began, as far as that is known."""
        rows = [learner.series.times for learner in self._learners.values()]
        first = min((float(times[0]) for times in rows if len(times)), default=0.0)
        return min(self.info.starts, default=first)

    @property
    def state(self) -> str:
        """State of the run."""
        rows = [learner.latest["time"] for learner in self._learners.values() if learner.latest]
        interval = max((x.series.interval for x in self._learners.values()), default=0.0)
        return self.info.state(max(rows, default=None), interval, time.time())

    def overview(self) -> dict[str, Any]:
        """Return what is known about the run as a whole."""
        config, ended = self.info.config, self.info.summary
        return {
            "name": self.name,
            "state": self.state,
            "problem": self.info.problem,
            "method": str(config.get("method", "?"))[:100],
            "env": str(config.get("env", "?"))[:200],
            "learners": self.info.learners,
            "goal": config.get("steps") if fits(Count, config.get("steps")) else None,
            "started": min(self.info.starts, default=None),
            "mean_return": ended.get("mean_return")
            if fits(Number, ended.get("mean_return"))
            else None,
            "settings": self.info.settings(),
            "per_edge": self._traffic.is_known,
        }

    def learners(self) -> list[dict[str, Any]]:
        """Return the newest values of each learner."""
        distances = dict(enumerate(self._traffic.distances()))
        ranks = self._learners.keys() | set(range(min(self.info.learners, 1024)))
        run_state = self.state
        return [
            self._learner_now(rank, run_state, *distances.get(rank, (None, None)))
            for rank in sorted(ranks)
        ]

    def _learner_now(
        self, rank: int, run_state: str, distance: float | None, bound: float | None
    ) -> dict[str, Any]:
        known = self._learners.get(rank)
        row = known.latest if known is not None else {}
        interval = known.series.interval if known is not None else 0.0
        state = self._learner_state(rank, run_state, row, interval)
        is_member = state not in ("left", "ended")
        values = {
            name: short(row[name]) if fits(Number, row.get(name)) else None
            for name in ("agent_steps", "agent_steps_per_s", "mean_return", "staleness_updates")
        }
        return {
            "rank": rank,
            "state": state,
            **values,
            "restarts": self._timeline.restarts.get(rank, 0),
            "rejected": sum(row.get("rejected", {}).values()),
            "distance": short(distance) if is_member or state == "ended" else None,
            "bound": short(bound) if is_member or state == "ended" else None,
        }

    def _learner_state(self, rank: int, run_state: str, row: Row, interval: float) -> str:
        if rank >= self.info.learners > 0:
            return "left"
        if run_state not in ("training", "starting"):
            return "ended" if run_state != "silent" else "silent"
        died, alive = self._timeline.deaths.get(rank), self._timeline.alive
        wrote = row.get("time", 0.0)
        if rank < len(alive) and not alive[rank]:
            return "dead"
        if died is not None and died > wrote:
            return "restarting"
        if not row:
            return "starting"
        return "silent" if time.time() - wrote > max(30.0, 5 * interval) else "training"

    def edges(self) -> list[list[float | None]]:
        """Return per edge: sender, receiver, mixes per second, age in s, lag, skipped updates."""
        traffic = self._traffic.edges()
        unknown = {"rate": None, "age": None, "lag": None, "skipped": None}
        silent = unknown if not traffic else unknown | {"rate": 0.0}
        ends = sorted({*self._planned, *traffic})
        return [
            [
                *pair,
                *(short(traffic.get(pair, silent)[n]) for n in ("rate", "age", "lag", "skipped")),
            ]
            for pair in ends
        ]

    def events(self) -> list[dict[str, Any]]:
        """Return the newest events, oldest first."""
        events = self._timeline.newest()
        seconds = self._clock.seconds(np.array([event.time for event in events]))
        ends = np.append(0.0, self.table.columns.get("seconds", ()))
        steps = np.interp(seconds, ends, np.append(0.0, self.table.columns.get("agent_steps", ())))
        return [
            {
                "time": event.time,
                "seconds": short(float(seconds[i])),
                "steps": int(steps[i]),
                "kind": event.kind,
                "text": event.text,
                "learner": event.learner,
            }
            for i, event in enumerate(events)
        ]

    def curves(self, first: int) -> dict[str, list[float | None]]:
        """Return the columns of the table from a bin on."""
        return {
            name: [short(value) for value in column[first:].tolist()]
            for name, column in self.table.columns.items()
            if name != "expected_steps"
        }


def _is_of_learner(row: Row, rank: int) -> bool:
    """Return whether a row has the values without which it is left out."""
    # By hand, since `decode.fits` would take most of the time of opening a long run.
    steps, rejected = row.get("agent_steps"), row.get("rejected")
    return (
        row.get("learner") == rank
        and type(row.get("time")) in (int, float)
        and type(steps) is int
        and 0 <= steps < _LARGEST
        and type(rejected) is dict
        and all(type(count) is int and 0 <= count < _LARGEST for count in rejected.values())
    )


def short(value: float | None) -> float | None:
    """Return a number with six digits, None if it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    if value == int(value):
        return int(value)
    return float(f"{value:.6g}")
