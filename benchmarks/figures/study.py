"""Tables and figure of a study: gossip beside one large batch, over learning rates.

    python -m benchmarks.figures.study STUDY --threshold 475 --out benchmarks/results/study-cartpole

STUDY is the folder of `gala study`. `--baseline` is the folder of another study, whose large batch
is compared with if this one has none. `result.json` has a summary per update rule, and
`runs.jsonl` a line per run.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import results
from gala_lab.study.figure import draw
from gala_lab.study.plan import read_rows
from gala_lab.study.summary import Row, as_json, summaries
from gala_rl.records.provenance import provenance


def task_of(row: Row) -> tuple[str, str]:
    """Return environment and algorithm."""
    return row["cell"]["env"], row["cell"]["algorithm"]


def runs_of(rows: Sequence[Row]) -> str:
    """Return a line of JSON per run: its cell, its seed and how it went."""
    names = ("seed", "auc", "final", "best", "finite")
    lines = [{**row["cell"], **{name: row[name] for name in names}} for row in rows]
    return "".join(json.dumps(line) + "\n" for line in lines)


def summary_of(rows: Sequence[Row], baseline: Sequence[Row], options: Any) -> list[dict[str, Any]]:
    """Return a summary per environment and algorithm, with what all its cells have in common."""
    found = []
    for task in dict.fromkeys(map(task_of, rows)):
        own = [row for row in rows if task_of(row) == task]
        large = [row for row in baseline if task_of(row) == task]
        cell = own[0]["cell"]
        found.append(
            {
                "env": cell["env"],
                "algorithm": cell["algorithm"],
                "steps": cell["steps"],
                "simulators": cell["learners"] * cell["simulators"],
                "threshold": options.threshold,
                "floor": options.floor,
                "rules": as_json(summaries(own, options.threshold, options.floor, large)),
            }
        )
    return found


def main(arguments: Sequence[str]) -> None:
    """Write the figure's folder from the study's."""
    parser = results.parser(__doc__)
    parser.add_argument("study", type=Path, help="folder of the study")
    parser.add_argument("--baseline", type=Path, help="folder of a study with one large batch")
    parser.add_argument("--threshold", type=float, default=0.0, help="mean return to reach")
    parser.add_argument("--floor", type=float, default=0.0, help="return without learning")
    options = parser.parse_args(arguments)
    rows = read_rows(options.study)
    if not rows:
        parser.error(f"study {options.study} has no rows")
    baseline = [] if options.baseline is None else read_rows(options.baseline)
    # The runs' commit, not the commit that summarises them.
    commits = sorted({row["commit"] for row in rows})
    result = {
        "tasks": summary_of(rows, baseline, options),
        **provenance(),
        "commit": commits[-1],
        "commits_of_runs": commits,
        "started": min(row["started"] for row in rows),
        "machine": rows[0]["machine"],
    }
    # The folders of the studies are of no use to anybody else.
    command = ["STUDY", *(["--baseline", "OTHER"] if baseline else [])]
    command += ["--threshold", f"{options.threshold:g}", "--floor", f"{options.floor:g}"]
    results.write(options.out, "study", [*command, "--out", str(options.out)], result, draw(rows))
    (options.out / "runs.jsonl").write_text(runs_of(rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
