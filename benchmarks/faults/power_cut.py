"""All processes of a training are killed at once, at a random moment; what does a resume lose?

    python -m benchmarks.faults.power_cut --out RESULT.json

Trains Pong with each method, sends SIGKILL to every process, counts what had been made, and holds
it against the newest checkpoint; then resumes, and sees that counters go on from exactly there.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults import training
from benchmarks.faults.result import publish
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder

METHODS = {"gala-a2c": 4, "a2c-allreduce": 4, "impala": 1}
"""Methods with their numbers of learners."""
INTERVAL_S = 10.0
"""Between checkpoints: from when one is whole to when the next is asked for."""
LOG_EVERY = 5
"""Updates."""
_RUNS_S = (15.0, 45.0)
_GONE_S = 10.0
_FURTHER_STEPS = 10_000
"""More than `LOG_EVERY` updates of any method: a shorter run ends with a row of its own."""


def power_cut(method: str, env: str, after_s: float, folder: Path) -> dict[str, Any]:
    """One training that is killed and resumed.

    Args:
        method: what trains.
        env: of the training.
        after_s: seconds from the first metrics to the kill.
        folder: where the run is kept.

    Returns:
        `made`, agent steps in the metrics at the kill; `saved`, those of the newest checkpoint;
        `lost_intervals`, their difference as a share of what is made in `INTERVAL_S`; `problems`,
        a line each.
    """
    run = RunFolder(folder / "run")
    settings = {"env": env, "learners": METHODS[method], "steps": "1G", "out": run.path}
    process = training.start(
        method, settings | {"checkpoint-every": INTERVAL_S, "log-every": LOG_EVERY}
    )
    training.wait_for_first_row(process, run)
    time.sleep(after_s)
    training.check_goes_on(process)
    members = training.family(process)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait(training.STOP_S)
    _, left = psutil.wait_procs(members[1:], timeout=_GONE_S)
    problems = [f"process {member.pid} outlived its SIGKILL" for member in left]
    rows = _rows(run)
    made, rate = progress(rows)
    newest = checkpoint.newest(run.checkpoints)
    if newest is None:
        return {"method": method, "made": made, "problems": [*problems, "there is no checkpoint"]}
    # Before others take its place.
    saved = {rank: newest.load(rank).counters["updates"] for rank in newest.learners()}
    code = training.resume(run, newest.agent_steps + _FURTHER_STEPS).wait(training.STOP_S)
    if code != 0:
        problems.append(f"the resumed run ended with exit code {code}")
    return {
        "method": method,
        "made": made,
        "saved": newest.agent_steps,
        "lost_intervals": (made - newest.agent_steps) / (rate * INTERVAL_S),
        "problems": [*problems, *gaps(rows, _rows(run), saved)],
    }


def _rows(run: RunFolder) -> list[list[dict[str, Any]]]:
    files = sorted((run.path / "metrics").glob("learner_*.jsonl"))
    return [MetricsReader(file).new_rows() for file in files]


def progress(rows: Sequence[Sequence[dict[str, Any]]]) -> tuple[int, float]:
    """Agent steps of all learners by their last rows, and those of a second in between.

    Args:
        rows: of each learner.
    """
    begun, made = (sum(own[place]["agent_steps"] for own in rows) for place in (0, -1))
    seconds = max(own[-1]["time"] for own in rows) - min(own[0]["time"] for own in rows)
    return made, (made - begun) / seconds


def gaps(
    before: Sequence[Sequence[dict[str, Any]]],
    after: Sequence[Sequence[dict[str, Any]]],
    saved: Mapping[int, int],
) -> list[str]:
    """Learners that did not go on from the checkpoint's counters, a line each.

    Args:
        before: rows of each learner at the kill.
        after: rows of each learner after the resume.
        saved: updates of each learner in the checkpoint.
    """
    killed_at = max(own[-1]["time"] for own in before)
    found = []
    for rank, updates in saved.items():
        new = [row["updates"] for row in after[rank] if row["time"] > killed_at]
        # A row comes with each multiple of this many updates.
        if new and new[0] != updates - updates % LOG_EVERY + LOG_EVERY:
            found.append(f"learner {rank} had {updates} updates and went on with {new[0]}")
    if not any(row["time"] > killed_at for own in after for row in own):
        found.append("no learner wrote a row after the resume")
    return found


def main() -> int:
    """Returns 1 if anything was lost that should not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="PongNoFrameskip-v4")
    parser.add_argument("--kills", type=int, default=5, help="of each method")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    draw, runs = random.Random(options.seed), []
    for _ in range(options.kills):
        for method in METHODS:
            with tempfile.TemporaryDirectory() as folder:
                after_s = draw.uniform(*_RUNS_S)
                runs.append(power_cut(method, options.env, after_s, Path(folder)))
    settings = {"env": options.env, "kills": options.kills, "interval_s": INTERVAL_S}
    publish({"settings": settings, "runs": runs}, options.out)
    return int(any(run["problems"] for run in runs))


if __name__ == "__main__":
    sys.exit(main())
