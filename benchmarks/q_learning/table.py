"""The table of a plan's result: title, columns, rows."""

from typing import Any

from benchmarks.figures.tables import Table
from gala_rl.records.metrics import score_text


def table(result: dict[str, Any]) -> Table:
    """Return the scores of the cases, by task, with intervals over seeds."""
    title = (
        f"{result['simulators']} simulators in all, {result['seeds']} seeds: mean, and 95 % "
        f"bootstrap interval of the mean. The score is that of {result['games']} games with the "
        f"best actions after training; while training, it is the mean of the last 100 games, over "
        f"agent steps."
    )
    columns = ["task", "agent steps", "case", "score", "interval", "lowest", "while training"]
    rows = [
        [
            case["task"],
            f"{case['steps']:,}",
            case["name"],
            score_text(case["greedy"]["mean"]),
            _interval(case["greedy"]),
            score_text(case["greedy"]["lowest"]),
            f"{score_text(case['auc']['mean'])} ({_interval(case['auc'])})",
        ]
        for case in result["cases"]
    ]
    return title, columns, rows


def _interval(found: dict[str, Any]) -> str:
    return " … ".join(score_text(bound) for bound in found["interval"])
