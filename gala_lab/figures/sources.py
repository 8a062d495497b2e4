"""Finds what a path holds: runs, alone or in a folder or comparison, a study, or a benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from gala_lab.compare.comparison_plan import FILE as COMPARISON
from gala_lab.compare.learning_curves import Curve, curve_of, rows_of
from gala_lab.study.plan import ROWS, read_rows
from gala_rl.decode import decode
from gala_rl.errors import UserError
from gala_rl.records.files import read_json
from gala_rl.records.run_folder import RunFolder


@dataclass(frozen=True)
class DrawnRun:
    """A run with its learning curve.

    Attributes:
        folder: its folder.
        method: its method.
        env: its environment.
        curve: scores of the last 100 games of all learners, by agent steps and seconds.
    """

    folder: RunFolder
    method: str
    env: str
    curve: Curve

    @property
    def score(self) -> float:
        """Mean return of the last 100 games at the end."""
        return float(self.curve.scores[-1])


@dataclass(frozen=True)
class Sources:
    """What paths hold; only one of the three is not empty."""

    runs: list[DrawnRun]
    study: list[dict[str, Any]]
    benchmarks: list[dict[str, Any]]


def read_sources(paths: Sequence[str | Path]) -> Sources:
    """Read everything to draw.

    Raises:
        UserError: for a path that holds nothing to draw, or paths whose content does not fit into
            one figure.
    """
    runs: list[DrawnRun] = []
    study: list[dict[str, Any]] = []
    benchmarks: list[dict[str, Any]] = []
    for path in map(Path, paths):
        if path.is_file() or (
            (path / "result.json").is_file() and not (path / COMPARISON).exists()
        ):
            benchmarks.append(_benchmark(path if path.is_file() else path / "result.json"))
        elif (path / ROWS).is_file():
            study += read_rows(path)
        else:
            runs += [_run(folder) for folder in _run_folders(path)]
    if sum(map(bool, (runs, study, benchmarks))) > 1:
        raise UserError("runs, studies and benchmarks do not fit into one figure: plot each alone")
    return Sources([run for run in runs if len(run.curve.games)], study, benchmarks)


def _run_folders(path: Path) -> list[RunFolder]:
    """Return the run that a folder holds, or those in it or in its folder `runs`."""
    if RunFolder(path).exists:
        return [RunFolder(path)]
    for parent in (path, path / "runs"):
        inside = sorted(parent.iterdir()) if parent.is_dir() else []
        if found := [RunFolder(child) for child in inside if RunFolder(child).exists]:
            return found
    raise UserError(
        f"{path} holds nothing to show: give the folder of a run, of runs, of a comparison or of a "
        f"study, or a JSON file of gala bench"
    )


class _Config(TypedDict):
    method: str
    env: str


class _ConfigFile(TypedDict):
    """Keys of `config.json` that are read; so runs of all versions can be drawn."""

    config: _Config


def _run(folder: RunFolder) -> DrawnRun:
    content = decode(_ConfigFile, read_json(folder.config_file), str(folder.config_file))
    config = content["config"]
    return DrawnRun(folder, config["method"], config["env"], curve_of(rows_of(folder)))


def _benchmark(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content.get("benchmark"), str):
        raise UserError(f"{file} is no result of gala bench … --json")
    return content
