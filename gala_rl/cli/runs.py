"""The command `gala runs`: lists the runs in a folder."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gala_rl.cli.console import print_table, say
from gala_rl.cli.parser import add_command
from gala_rl.records.metrics import score_text

if TYPE_CHECKING:
    from gala_rl.records.run_list import ListedRun

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))
_COLUMNS = ["run", "method", "environment", "state", "agent steps", "mean return", "age", "differs"]


def add_runs(commands: Any) -> None:
    """Add `runs` to the commands of `gala`."""
    text = "list runs: their settings that differ, scores and states"
    parser = add_command(commands, "runs", text, _runs, "gala runs", "gala runs runs/sweep --json")
    parser.add_argument(
        "folder",
        nargs="?",
        default="runs",
        metavar="FOLDER",
        help="folder that holds runs, also in folders of its own (default: runs)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _runs(options: argparse.Namespace) -> int:
    from gala_rl.records.run_list import list_runs

    runs, damaged = list_runs(Path(options.folder))
    if options.json:
        content = {"runs": [run._asdict() for run in runs], "damaged": damaged}
        options.document = json.dumps(content, indent=2, allow_nan=False)
        return 0
    if runs:
        print_table(f"runs in {options.folder}", _COLUMNS, _cells(runs, Path(options.folder)))
    for line in damaged:
        say(f"damaged: {line}")
    if not runs and not damaged:
        say(f"no runs in {options.folder}: gala train writes them to --out, by default to runs")
    return 0


def _cells(runs: Sequence["ListedRun"], folder: Path) -> list[list[str]]:
    return [
        [
            str(Path(run.run).relative_to(folder)),
            run.method,
            run.env,
            run.state,
            f"{run.agent_steps:,}" + ("" if run.steps is None else f" of {run.steps:,}"),
            "–" if run.mean_return is None else score_text(run.mean_return),
            "–" if run.age_s is None else _age(run.age_s),
            ", ".join(f"{name} {value}" for name, value in run.settings.items()),
        ]
        for run in runs
    ]


def _age(seconds: float) -> str:
    """Format an age by its largest unit, rounded down."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
