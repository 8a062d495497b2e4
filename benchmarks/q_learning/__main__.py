"""Trains the runs of a plan with several seeds, and writes what they learned.

    python -m benchmarks.q_learning targets --out benchmarks/results/q-learning-targets

Learners take turns in one process, so that runs repeat. Runs whose rows are in the folder's
`runs.jsonl` are not made again.
"""

import argparse
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.figures.summary import bootstrap
from benchmarks.q_learning.runs import GAMES, SIMULATORS, Case, Row, make
from benchmarks.q_learning.tasks import PLANS
from gala_rl.records.files import write_json
from gala_rl.records.provenance import provenance


def summary_of(case: Case, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the means over seeds of a case, with their intervals."""
    found: dict[str, Any] = {"task": case.task, "name": case.name, "steps": case.steps}
    for key in ("greedy", "auc", "last"):
        values = [row[key] for row in rows]
        found[key] = {
            "mean": statistics.fmean(values),
            "interval": bootstrap(values),
            "lowest": min(values),
            "highest": max(values),
        }
    return found


def main(arguments: Sequence[str]) -> None:
    """Make the runs that are missing, and write the folder of the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", choices=PLANS, help="what is compared")
    parser.add_argument("--seeds", type=int, default=5, help="runs per case")
    parser.add_argument("--task", help="only cases of this task; default: of all")
    parser.add_argument(
        "--most-learners", type=int, default=4, help="only cases with at most these"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cases = [
        case
        for case in PLANS[options.plan]
        if options.task in (None, case.task) and case.learners <= options.most_learners
    ]
    if not cases:
        parser.error(f"plan {options.plan} has no such cases")
    origin = provenance()
    rows = make(cases, options.seeds, options.out / "runs.jsonl", origin["commit"])
    result = {
        "seeds": options.seeds,
        "simulators": SIMULATORS,
        "games": GAMES,
        "cases": [summary_of(case, of) for case, of in zip(cases, rows, strict=True)],
        "commits_of_runs": sorted({str(row["commit"]) for of in rows for row in of}),
        **origin,
    }
    write_json(options.out / "result.json", result)
    command = shlex.join(["python", "-m", "benchmarks.q_learning", *arguments])
    (options.out / "command.txt").write_text(f"{command}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
