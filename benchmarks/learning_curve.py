"""Keep the evidence of a finished run: command, config, summary, metrics, evaluation, curve.

    gala evaluate RUN --json > evaluation.json
    python benchmarks/learning_curve.py RUN NAME "make train" evaluation.json

writes `benchmarks/results/NAME/`; its `config.json` names machine, versions and commit. The curve
is the mean raw return of the last 100 full games of all learners, against agent steps (and frames)
and against hours.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from gala_rl.records.metrics import RECENT_EPISODES, MetricsReader, RecentGames
from gala_rl.records.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results"
MILESTONES = (0, 10, 15, 18, 19, 20, 400, 475)


def read_rows(run: RunFolder) -> list[dict[str, Any]]:
    """Rows of all learners in the order of time."""
    return sorted(
        (row for file in run.metrics_files() for row in MetricsReader(file).new_rows()),
        key=lambda row: row["time"],
    )


def curve_of(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Mean return of the last full games at every row that has one."""
    recent = RecentGames()
    for row in rows:
        recent.add(row)
    points = []
    for row in rows:
        recent.count_until(row["time"])
        if recent.mean is not None:
            points.append(
                {
                    "total_agent_steps": row["total_agent_steps"],
                    "hours": (row["time"] - rows[0]["time"]) / 3600,
                    "mean_return": recent.mean,
                    "games": min(recent.count, RECENT_EPISODES),
                }
            )
    return points


def milestones_of(points: list[dict[str, float]]) -> dict[str, Any]:
    """Where the mean over a full hundred games first reaches each score, and where it is best."""
    full = [point for point in points if point["games"] == RECENT_EPISODES]
    reached = {score: [p for p in full if p["mean_return"] >= score] for score in MILESTONES}
    return {
        "first_at_least": {str(score): there[0] for score, there in reached.items() if there},
        "best": max(full, key=lambda point: point["mean_return"]),
        "last": full[-1],
    }


def plot(points: list[dict[str, float]], title: str, frames_per_step: int, file: Path) -> None:
    """Two panels: against agent steps and against hours."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    by_steps, by_hours = figure.subplots(1, 2, sharey=True)
    scores = [point["mean_return"] for point in points]
    by_steps.plot([point["total_agent_steps"] / 1e6 for point in points], scores)
    by_steps.set_xlabel(f"million agent steps, all learners (x{frames_per_step} = frames)")
    by_steps.set_ylabel("raw return, last 100 games")
    by_hours.plot([point["hours"] for point in points], scores)
    by_hours.set_xlabel("hours")
    for axes in (by_steps, by_hours):
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    figure.savefig(file, dpi=120)


def main(run_path: str, name: str, command: str, evaluation: str) -> None:
    """Write the results folder of a run."""
    run, out = RunFolder(Path(run_path)), RESULTS / name
    out.mkdir(parents=True, exist_ok=True)
    config, summary, rows = run.read_config(), run.read_summary(), read_rows(run)
    shutil.copy(run.config_file, out / "config.json")
    shutil.copy(run.summary_file, out / "summary.json")
    shutil.copy(evaluation, out / "evaluation.json")
    (out / "command.txt").write_text(command + "\n", encoding="utf-8")
    frames_per_step = summary["env_frames"] // summary["agent_steps"]
    with (out / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    points = curve_of(rows)
    milestones = json.dumps(milestones_of(points), indent=2)
    (out / "milestones.json").write_text(milestones + "\n", encoding="utf-8")
    title = f"{config.method} on {config.env}, {config.learners} x {config.simulators} simulators"
    mpl.use("agg")
    plot(points, title, frames_per_step, out / "curve.png")
    print(milestones)


if __name__ == "__main__":
    main(*sys.argv[1:])
