"""What a run's own files say about it as a whole: settings, when it began and how it ended."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from gala_rl.dashboard.clock import seconds_of
from gala_rl.dashboard.events import Event
from gala_rl.decode import Count, fits
from gala_rl.errors import UserError
from gala_rl.records.files import read_json
from gala_rl.records.run_folder import RunFolder

State = Literal[
    "starting", "training", "silent", "finished", "stopped", "failed", "deleted", "unreadable"
]

_SILENT_S = 60.0
_MOST_TEXT = 400


class RunInfo:
    """Reads `config.json` and `summary.json` whenever they change.

    Args:
        folder: the run.

    Attributes:
        folder: as given.
        content: content of `config.json`, of any version; empty if it cannot be read.
        problem: why it cannot be read; empty if it can.
        summary: content of `summary.json`; empty without one.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.content: dict[str, Any] = {}
        self.problem = ""
        self.summary: dict[str, Any] = {}
        self.folder = folder
        self._ended_at = 0.0
        self._stamps: tuple[object, object] = (None, None)

    def refresh(self) -> bool:
        """Read files that have changed; return whether there were any."""
        stamps = _stamp(self.folder.config_file), _stamp(self.folder.summary_file)
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        if stamps[0] is not None:
            try:
                self.content, self.problem = read_json(self.folder.config_file), ""
            except UserError as error:
                self.problem = str(error)
        self.summary = {}
        if stamps[1] is not None:
            self._ended_at = stamps[1][0] / 1e9
            try:
                self.summary = read_json(self.folder.summary_file)
            except UserError as error:
                self.problem = self.problem or str(error)
        return True

    @property
    def config(self) -> dict[str, Any]:
        """The run's settings."""
        config = self.content.get("config")
        return config if isinstance(config, dict) else {}

    @property
    def starts(self) -> list[float]:
        """Seconds since 1970 of the start and of each resume."""
        resumes = self.content.get("resumes")
        all_starts = [self.content, *(resumes if isinstance(resumes, list) else [])]
        times = [seconds_of(s.get("started")) for s in all_starts if isinstance(s, dict)]
        return sorted(time for time in times if time is not None)

    @property
    def learners(self) -> int:
        """Number of learners; 0 if it is not known."""
        learners = self.config.get("learners")
        return learners if isinstance(learners, int) and fits(Count, learners) else 0

    def state(self, last_row: float | None, interval: float, now: float) -> State:
        """Return what the run does.

        Args:
            last_row: seconds since 1970 of the newest row of metrics; None without one.
            interval: median time between two rows in seconds.
            now: seconds since 1970.
        """
        if not self.folder.path.is_dir():
            return "deleted"
        if not self.content:
            return "unreadable"
        if self._has_ended():
            if self.summary.get("failed"):
                return "failed"
            return "stopped" if self.summary.get("interrupted") else "finished"
        last_start = max(self.starts, default=0.0)
        newest = max(last_row or 0.0, last_start)
        if now - newest > max(_SILENT_S, 5 * interval):
            return "silent"
        return "training" if last_row is not None and last_row >= last_start else "starting"

    def end(self) -> Event | None:
        """Return the event of the run's end; None if it has not ended."""
        if not self._has_ended():
            return None
        how = "stopped" if self.summary.get("interrupted") else "finished"
        how = "failed" if self.summary.get("failed") else how
        return Event(self._ended_at, "run", f"run {how}")

    def settings(self) -> dict[str, str]:
        """Return all settings as text by name, and what the run was started with."""
        origin: dict[str, Any] = {
            name: self.content[name]
            for name in ("started", "commit", "versions", "machine")
            if name in self.content
        }
        return dict(_flat(self.config)) | dict(_flat(origin))

    def _has_ended(self) -> bool:
        # Times of starts are whole seconds.
        return bool(self.summary) and max(self.starts, default=0.0) < int(self._ended_at)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced; None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = "–" if value is None else value if isinstance(value, str) else repr(value)
            yield f"{prefix}{name}", text[:_MOST_TEXT]
