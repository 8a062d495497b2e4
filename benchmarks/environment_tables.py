"""Tables of the results about environments: backends, and staggered starts."""

from collections.abc import Sequence
from typing import Any

from benchmarks.figures.tables import Table


def backends(result: dict[str, Any]) -> Table:
    """Rates of simulators alone and of training, of each side of each case."""
    title = (
        f"Agent steps per second of all learners together: medians of {result['rounds']} rounds "
        f"of {result['seconds']:.0f} s each, in turn; ratios to the first of a case, with the "
        f"lowest and the highest."
    )
    rows = []
    for case in result["cases"]:
        for side, env in enumerate(case["envs"]):
            is_last = side == len(case["envs"]) - 1 and side > 0
            rows.append(
                [
                    f"`{env}`",
                    f"`{case['method']}`",
                    f"{case['learners']} x {case['simulators']}",
                    *_rate(case["simulators_alone"], side, has_ratio=is_last),
                    *_rate(case["training"], side, has_ratio=is_last),
                ]
            )
    columns = ["environment", "method", "learners x simulators", "simulators alone", "ratio"]
    return title, [*columns, "training", "ratio"], rows


def _rate(found: dict[str, Any], side: int, *, has_ratio: bool) -> list[str]:
    rate = f"{found['steps_per_s'][side]:,.0f}"
    if not has_ratio:
        return [rate, ""]
    low, high = min(found["ratios"]), max(found["ratios"])
    return [rate, f"{found['ratio']:.2f} ({low:.2f} … {high:.2f})"]


def stagger(result: dict[str, Any]) -> Table:
    """Scores at equal distances, of each run."""
    runs = result["runs"]
    title = (
        "`gala-a2c`, 2 learners x 16 simulators: mean return of the last 100 games (of all, if "
        "fewer have ended) after so many agent steps."
    )
    columns = ["game", "`--stagger`", "seed", *(f"{n:,}" for n in runs[0]["agent_steps"])]
    order = sorted(runs, key=lambda run: (run["game"], run["seed"], run["stagger"]))
    return title, columns, [_row(run) for run in order]


def _row(run: dict[str, Any]) -> list[str]:
    scores: Sequence[float | None] = run["scores"]
    shown = ["–" if score is None else f"{score:.2f}" for score in scores]
    return [run["game"], str(run["stagger"]), str(run["seed"]), *shown]
