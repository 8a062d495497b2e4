"""Keeps what a finished training run shows: curve, evaluation, config, command, machine, commit."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scores.runs import ScoreRun
from gala_rl.app.evaluate import evaluate
from gala_rl.records.files import write_json
from gala_rl.records.metrics import (
    RECENT_EPISODES,
    MetricsReader,
    RecentGames,
    Row,
    drop_superseded,
    learner_rows,
)
from gala_rl.records.run_folder import RunFolder

EVALUATION_GAMES = 30
CURVE_POINTS = 200
_PAUSE_S = 60.0
"""A longer time without a row is a pause between two parts of a run, and does not count."""


def rows_of(run: RunFolder) -> list[Row]:
    """Return the rows of all learners in the order of time, without repeated agent steps."""
    learners = [
        drop_superseded(learner_rows(MetricsReader(file).new_rows()))
        for file in run.metrics_files()
    ]
    return sorted((row for rows in learners for row in rows), key=lambda row: row["time"])


def curve_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return agent steps, hours and the mean return of the last full games at each row."""
    recent = RecentGames()
    for row in rows:
        recent.add(row)
    points, seconds, before = [], 0.0, rows[0]["time"]
    for row in rows:
        seconds += row["time"] - before if row["time"] - before < _PAUSE_S else 0.0
        before = row["time"]
        recent.count_until(row["time"])
        if recent.count >= RECENT_EPISODES:
            points.append(
                {
                    "agent_steps": row["total_agent_steps"],
                    "hours": seconds / 3600,
                    "mean_return": recent.mean,
                }
            )
    return points


def thinned(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most `CURVE_POINTS` of the points, the last one included."""
    stride = -(-len(points) // CURVE_POINTS)
    return list(points[::-1][::stride][::-1])


def first_at(points: Sequence[dict[str, Any]], score: float) -> dict[str, Any] | None:
    """Return the first point whose mean return is at least a score."""
    return next((point for point in points if point["mean_return"] >= score), None)


def keep(planned: ScoreRun, run: RunFolder, out: Path) -> None:
    """Evaluate a finished run and write the folder of its result.

    Raises:
        UserError: when the run has no checkpoint or no hundred games.
    """
    kept = json.loads(run.config_file.read_text(encoding="utf-8"))
    points = curve_of(rows_of(run))
    evaluation = {
        policy: evaluate(run.path, episodes=EVALUATION_GAMES, policy=policy, seed=planned.seed)
        for policy in ("greedy", "sample")
    }
    unfinished = out.with_name(f".{out.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write_json(unfinished / "config.json", kept["config"])
    command = " ".join(["gala", *planned.arguments])
    (unfinished / "command.txt").write_text(f"{command}\n", encoding="utf-8")
    with (unfinished / "curve.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(point)}\n" for point in thinned(points))
    write_json(
        unfinished / "result.json",
        {
            **{name: kept[name] for name in ("commit", "started", "machine", "versions")},
            "resumed": len(kept.get("resumes", [])),
            "name": planned.name,
            "training": _training(planned, points),
            "evaluation": {name: _games(result) for name, result in evaluation.items()},
        },
    )
    unfinished.rename(out)


def _training(planned: ScoreRun, points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = points[-1]
    reached = None if planned.stop_at is None else first_at(points, planned.stop_at)
    return {
        "agent_steps": last["agent_steps"],
        "env_frames": 4 * last["agent_steps"],
        "hours": last["hours"],
        "agent_steps_per_s": last["agent_steps"] / (3600 * last["hours"]),
        "last_100_games": last["mean_return"],
        "best_100_games": max(point["mean_return"] for point in points),
        "stop_at": planned.stop_at,
        "reached": reached,
    }


def _games(result: dict[str, Any]) -> dict[str, Any]:
    (mean,) = result["results"]
    names = ("mean_return", "standard_error", "returns", "games_cut")
    return {"checkpoint": result["checkpoint"], **{name: mean[name] for name in names}}
