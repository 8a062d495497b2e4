"""All runs that the page may show, and the messages that tell a browser what has changed."""

import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gala_rl.dashboard.run_info import RunInfo
from gala_rl.dashboard.run_view import RunView
from gala_rl.errors import UserError
from gala_rl.records.run_folder import RunFolder

MOST_RUNS = 300
"""Runs that are listed: the newest."""
MOST_SHOWN = 8
"""Runs that are shown at once: as many as there are colours."""

_DEPTH = 3
"""Folders of runs are searched so deep, as deep as comparisons keep theirs."""
_SEARCH_EVERY_S = 5.0
_REFRESH_EVERY_S = 0.9
_LATE_S = 10.0


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the folders of all runs at or below these paths.

    Raises:
        UserError: when a path is no folder, or there is no run.
    """
    for path in paths:
        if not path.is_dir():
            raise UserError(
                f"there is no folder {path}: give the folder of a run, or a folder of runs"
            )
    found = _search(paths)
    if not found:
        names = ", ".join(map(str, paths))
        raise UserError(
            f"there is no run in {names}: a run is a folder with a config.json, as gala train "
            f"--out makes it"
        )
    return found


def _search(paths: Sequence[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        level = [path]
        for _ in range(_DEPTH + 1):
            found |= dict.fromkeys(p for p in level if RunFolder(p).exists)
            level = [child for p in level if p not in found for child in _folders_in(p)]
    return list(found)


def _folders_in(path: Path) -> list[Path]:
    try:
        # A link may lead to a folder that was not given.
        return sorted(p for p in path.iterdir() if p.is_dir() and not p.is_symlink())
    except OSError:
        return []


@dataclass
class Cursor:
    """What a browser has of one run: texts by part, and the version and length of the curves."""

    generation: int = 0
    version: int = 0
    length: int = 0
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class Received:
    """What a browser has received: the list of runs as JSON, and a cursor per run."""

    runs: str = ""
    cursors: dict[int, Cursor] = field(default_factory=dict)


class Hub:
    """Reads the runs that browsers ask for, at most once a second; safe to use from threads.

    Args:
        paths: folders of runs, and folders to search for runs.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._views: dict[int, RunView] = {}
        self._infos: dict[int, RunInfo] = {}
        self._ids: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._searched = self._listed = -math.inf
        self._refreshed: dict[int, float] = {}
        self._list: list[dict[str, Any]] = []

    def changes(self, shown: Sequence[int], has: Received) -> str:
        """Return a message with all that is new for a browser; empty if nothing is.

        Args:
            shown: ids of the runs that it shows.
            has: what it has received; changed to what it has after this message.
        """
        with self._lock:
            parts = []
            listed = json.dumps(self._runs())
            if listed != has.runs:
                parts.append(f'"runs":{listed}')
                has.runs = listed
            data = []
            for run in dict.fromkeys(shown):
                if run in self._infos:
                    cursor = has.cursors.setdefault(run, Cursor())
                    changed = self._changes_of(self._view(run), cursor)
                    data += [f'"{run}":{{{changed}}}'] if changed else []
            if data:
                parts.append(f'"data":{{{",".join(data)}}}')
            return f"{{{','.join(parts)}}}" if parts else ""

    def _runs(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        if now - self._searched > _SEARCH_EVERY_S:
            self._searched = now
            for path in _search(self._paths):
                if path not in self._ids:
                    self._ids[path] = len(self._ids)
                    self._infos[self._ids[path]] = RunInfo(RunFolder(path))
            for info in self._infos.values():
                info.refresh()
            names = _names(list(self._ids))
            newest = sorted(
                self._ids, key=lambda p: max(self._infos[self._ids[p]].starts, default=0.0)
            )
            self._list = [
                self._entry(self._ids[path], names[path]) for path in newest[::-1][:MOST_RUNS]
            ]
        return self._list

    def _entry(self, run: int, name: str) -> dict[str, Any]:
        info = self._infos[run]
        return {
            "id": run,
            "name": name,
            "method": str(info.config.get("method", "?"))[:100],
            "env": str(info.config.get("env", "?"))[:200],
            "started": max(info.starts, default=None),
            "given": info.folder.path in self._paths,
        }

    def _view(self, run: int) -> RunView:
        if run not in self._views:
            path = next(path for path, known in self._ids.items() if known == run)
            self._views[run] = RunView(path, _names(list(self._ids))[path])
        if time.monotonic() - self._refreshed.get(run, -math.inf) > _REFRESH_EVERY_S:
            self._views[run].refresh()
            self._refreshed[run] = time.monotonic()
        return self._views[run]

    def _changes_of(self, view: RunView, cursor: Cursor) -> str:
        parts: dict[str, object] = {
            "overview": view.overview(),
            "learners": view.learners(),
            "edges": view.edges(),
            "events": view.events(),
        }
        texts = {name: json.dumps(part, allow_nan=False) for name, part in parts.items()}
        new = [f'"{name}":{text}' for name, text in texts.items() if text != cursor.texts.get(name)]
        cursor.texts = texts
        if cursor.version != view.version:
            new.append(f'"curves":{_new_curves(view, cursor)}')
        return ",".join(new)


def _new_curves(view: RunView, cursor: Cursor) -> str:
    """Return the end of the curves, as far as it may have changed, or all of them."""
    width = view.table.width
    late = math.ceil(_LATE_S / width) + 2 if width else 0
    first = max(0, cursor.length - late) if cursor.generation == view.generation else 0
    cursor.generation, cursor.version = view.generation, view.version
    cursor.length = view.table.length
    return json.dumps({"from": first, "columns": view.curves(first)}, allow_nan=False)


def _names(paths: Sequence[Path]) -> Mapping[Path, str]:
    """Return the shortest ends of the paths that tell them apart."""
    parts = {path: path.absolute().parts[1:] for path in paths}
    for length in range(1, 1 + max(map(len, parts.values()), default=0)):
        names = {path: "/".join(part[-length:]) for path, part in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {path: str(path) for path in paths}
