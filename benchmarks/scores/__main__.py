"""Trains the runs of docs/scores.md one after another, and keeps the result of each.

    python -m benchmarks.scores --folder ~/scores
    python -m benchmarks.scores --folder ~/scores --status

It may be stopped at any time: the same command goes on where it stopped. Runs, which are large, are
in `--folder`, results in benchmarks/results/scores, one folder per run.
"""

import argparse
import fnmatch
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scores.keep import keep
from benchmarks.scores.runs import RUNS, ScoreRun
from gala_rl.errors import UserError
from gala_rl.records.run_folder import RunFolder

RESULTS = Path(__file__).parents[1] / "results" / "scores"
_GALA = (sys.executable, "-m", "gala_lab.main")
_LOOK_S = 10.0


def is_over(run: RunFolder) -> bool:
    """Return whether a run has ended by itself: with all its steps, or at its score."""
    summary = run.read_summary()
    return bool(summary) and not summary["interrupted"] and not summary["failed"]


def train(planned: ScoreRun, run: RunFolder) -> None:
    """Train a run to its end, from its newest checkpoint if it has one.

    Raises:
        UserError: when it ended otherwise.
    """
    while run.exists and run.is_locked:  # Left behind by this command, when it was killed.
        time.sleep(_LOOK_S)
    if run.exists and is_over(run):
        return
    if run.checkpointed_agent_steps() is not None:
        words = ["resume", str(run.path)]
    else:
        again = ["--resume"] if run.exists else []
        words = [*planned.arguments, "--out", str(run.path), *again]
    run.path.parent.mkdir(parents=True, exist_ok=True)
    with run.path.with_suffix(".log").open("ab") as log:
        training = subprocess.Popen([*_GALA, *words], stdout=log, stderr=log)
        try:
            code = training.wait()
        except KeyboardInterrupt:
            training.wait()  # It has had the signal too, and saves a checkpoint.
            raise
    if code != 0:
        raise UserError(f"{planned.name} ended with code {code}: see {log.name}, then try again")


def status(runs: Sequence[ScoreRun], folder: Path, results: Path) -> list[str]:
    """Return a line per run: kept, ended, under way or left; and an estimate of what is left."""
    lines, left, rates = [], 0, []
    for planned in runs:
        kept, run = results / planned.name / "result.json", RunFolder(folder / planned.name)
        if kept.is_file():
            training = json.loads(kept.read_text(encoding="utf-8"))["training"]
            rates.append(training["agent_steps_per_s"])
            state = f"kept, {training['last_100_games']:,.1f} at {training['agent_steps']:,}"
        else:
            made = (run.checkpointed_agent_steps() or 0) if run.exists else 0
            left += max(0, planned.steps - made)
            state = f"at {made:,} of {planned.steps:,}" if made else "not run"
        lines.append(f"{planned.name:<44} {state}")
    if rates and left:
        hours = left / (sum(rates) / len(rates)) / 3600
        lines.append(f"left: {left:,} agent steps, about {hours:,.0f} hours")
    return lines


def main() -> int:
    """Run what is not kept yet; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--only", default="*", help="names of runs, such as 'pong-*'")
    parser.add_argument("--status", action="store_true", help="show what is done and what is left")
    options = parser.parse_args()
    runs = [run for run in RUNS if fnmatch.fnmatch(run.name, options.only)]
    if not runs:
        parser.error(f"no run is named {options.only!r}: --status shows the names")
    if options.status:
        print("\n".join(status(runs, options.folder, options.results)))
        return 0
    for planned in runs:
        out = options.results / planned.name
        if out.is_dir():
            continue
        print(f"{time.strftime('%H:%M')} {planned.name}", flush=True)
        try:
            run = RunFolder(options.folder / planned.name)
            train(planned, run)
            keep(planned, run, out)
        except UserError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
