"""Lists the runs in a folder: what differs between them, how far they are, and how they ended."""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gala_rl.config.train import TrainConfig
from gala_rl.config.values import to_values
from gala_rl.decode import Count, Number, fits
from gala_rl.errors import UserError
from gala_rl.records.files import read_json
from gala_rl.records.metrics import Row, learner_rows
from gala_rl.records.run_folder import RunFolder

State = Literal["running", "ended", "stopped", "failed", "killed"]
"""Stopped: by the user. Failed: by an error. Killed: nothing says how the run ended."""

_NOT_COMPARED = {"method", "env", "out"}
_TAIL_BYTES = 1 << 16


class ListedRun(NamedTuple):
    """A run of a list.

    Attributes:
        run: its folder.
        method: name of its method.
        env: name of its environment.
        state: whether it runs, or how it ended.
        agent_steps: agent steps of all learners so far.
        steps: agent steps that it is to make.
        mean_return: mean raw return of the newest 100 games, per learner while the run has not
            ended; None before the first game.
        age_s: seconds since it was started; None if that is not known.
        settings: settings that other listed runs of its method and environment do not all share.
    """

    run: str
    method: str
    env: str
    state: State
    agent_steps: int
    steps: int | None
    mean_return: float | None
    age_s: float | None
    settings: dict[str, Any]


def list_runs(folder: Path) -> tuple[list[ListedRun], list[str]]:
    """Return the runs in a folder and the folders below it, oldest first.

    Args:
        folder: where to search; a run itself is listed alone.

    Returns:
        The runs, and a line for each that cannot be read.

    Raises:
        UserError: when there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"folder {folder} does not exist: give one with runs, such as gala runs .")
    runs, configs, damaged = list[ListedRun](), list[TrainConfig](), list[str]()
    for path in _run_folders(folder):
        try:
            config = RunFolder(path).read_config()
            runs.append(_listed(RunFolder(path), config))
            configs.append(config)
        except (UserError, OSError) as error:
            damaged.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    differing = _differing(configs)
    found = [run._replace(settings=own) for run, own in zip(runs, differing, strict=True)]
    return sorted(found, key=lambda run: -(run.age_s or 0.0)), damaged


def _run_folders(folder: Path) -> Iterator[Path]:
    for path, names, files in os.walk(folder):
        if "config.json" in files:
            yield Path(path)
            names.clear()  # A run's folder holds no other run, only earlier attempts at it.
        names.sort()


def _listed(folder: RunFolder, config: TrainConfig) -> ListedRun:
    summary, rows = folder.read_summary(), _newest_rows(folder)
    state = _state(folder, summary)
    agent_steps: Any = summary.get("agent_steps")
    mean_return = summary.get("mean_return")
    if state in ("running", "killed") or not fits(Count, agent_steps):
        agent_steps = sum(row["agent_steps"] for row in rows)
        returns = [row["mean_return"] for row in rows if row["mean_return"] is not None]
        mean_return = sum(returns) / len(returns) if returns else None
    return ListedRun(
        run=str(folder.path),
        method=config.method,
        env=str(config.env),
        state=state,
        agent_steps=agent_steps,
        steps=config.steps,
        mean_return=mean_return,
        age_s=_age_s(folder),
        settings={},
    )


def _state(folder: RunFolder, summary: dict[str, Any]) -> State:
    if folder.is_locked:
        return "running"
    # The config is written again when a run is resumed, and the summary when it ends.
    if not summary or _written(folder.summary_file) < _written(folder.config_file):
        return "killed"
    if summary.get("failed"):
        return "failed"
    return "stopped" if summary.get("interrupted") else "ended"


def _written(file: Path) -> float:
    return file.stat().st_mtime


def _newest_rows(folder: RunFolder) -> list[Row]:
    """Return the newest row of each learner."""
    newest = []
    for file in folder.metrics_files():
        with file.open("rb") as content:
            content.seek(max(0, file.stat().st_size - _TAIL_BYTES))
            lines = content.read().splitlines()
        newest += learner_rows([_row(line) for line in lines])[-1:]
    return newest


def _row(line: bytes) -> Row:
    """Return the row in a line; an empty one if the line is incomplete or damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _age_s(folder: RunFolder) -> float | None:
    started = read_json(folder.config_file).get("started")
    try:
        age = time.time() - datetime.fromisoformat(str(started)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return age if fits(Number, age) else None


def _differing(configs: Sequence[TrainConfig]) -> list[dict[str, Any]]:
    """Return for each config the settings that its method and environment share not everywhere."""
    values = [to_values(config) for config in configs]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for own in values:
        groups[own["method"], own["env"]].append(own)
    return [
        {
            name.rpartition(".")[2]: list(value) if isinstance(value, tuple) else value
            for name, value in own.items()
            if name not in _NOT_COMPARED
            and any(other.get(name) != value for other in groups[own["method"], own["env"]])
        }
        for own in values
    ]
