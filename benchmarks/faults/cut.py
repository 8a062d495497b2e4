"""A cut between two halves of the learners: both go on, and come together again when it is healed.

    python -m benchmarks.faults.cut --out RESULT.json
    sudo python -m benchmarks.faults.cut --link --out RESULT.json

Trains Pong with four learners on a ring, of which nothing gets from one pair to the other for 30
seconds, with as long, and longer, before and after. The first cut is one of a fault plan, on one
machine; the second is one of the link between two machines of a cluster, see `link`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults import training
from benchmarks.faults.link import Link
from benchmarks.faults.result import publish
from benchmarks.faults.two_machines import start_on, two_machines
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder

HALVES = ((0, 1), (2, 3))
BEFORE_S, CUT_S, AFTER_S = 45.0, 30.0, 60.0
_LOOK_S = 0.5
_BEGIN_S = 15.0
"""Learners are not counted while they start."""


def cut_by_plan(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One training on one machine through a cut; see `_found`.

    Args:
        settings: options of the training.
        folder: where plan and run are kept.
    """
    plan, run = folder / "plan.json", RunFolder(folder / "run")
    left, right = HALVES
    cut = {"kind": "cut", "senders": left, "receivers": right, "both_ways": True}
    fault = cut | {"at_s": BEFORE_S, "seconds": CUT_S}
    plan.write_text(json.dumps({"faults": [fault]}), encoding="utf-8")
    process = training.start("gala-a2c", settings | {"fault-plan": plan, "out": run.path})
    with training.ended(process):
        training.wait_for_first_row(process, run)
        begin, end = _wait_for_cut(process, run)
        _wait(process, end + AFTER_S)
    return _found(run, begin, end)


def cut_of_link(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One training on two machines through a cut of the link between them; see `_found`.

    Args:
        settings: options of the training.
        folder: where the run is kept.
    """
    run = RunFolder(folder / "run")
    settings = settings | {"learners-per-node": len(HALVES[0]), "out": run.path}
    with Link() as link, two_machines(link) as address:
        process = start_on("gala-a2c", settings | {"cluster": address})
        with training.ended(process):
            training.wait_for_first_row(process, run)
            _wait(process, time.time() + BEFORE_S)
            link.is_cut, begin = True, time.time()
            _wait(process, begin + CUT_S)
            link.is_cut, end = False, time.time()
            _wait(process, end + AFTER_S)
    return _found(run, begin, end)


def _wait(process: training.Process, until: float) -> None:
    while time.time() < until:
        training.check_goes_on(process)
        time.sleep(_LOOK_S)


def _wait_for_cut(process: training.Process, run: RunFolder) -> tuple[float, float]:
    """When the cut came at the first learner and when it was over at the last."""
    reader, times = MetricsReader(run.faults_file), dict[str, list[float]]()
    while len(times.get("end", ())) < len(times.get("begin", (0,))):
        _wait(process, time.time() + _LOOK_S)
        for row in reader.new_rows():
            times.setdefault(row["phase"], []).append(row["time"])
    return min(times["begin"]), max(times["end"])


def _found(run: RunFolder, begin: float, end: float) -> dict[str, Any]:
    """What a cut did.

    Args:
        run: that went through it.
        begin: of the cut.
        end: of the cut.

    Returns:
        `halves`, each with its agent steps/s before, during and after the cut; `distance`, root
        mean square distances of the learners from their mean: medians before, in the last third
        of the cut and in the last third of the run, None where it was not measured; `healed_s`,
        from the end of the cut to the first distance that is no more than the largest before, None
        if there was none.
    """
    rows = [MetricsReader(run.metrics_file(rank)).new_rows() for half in HALVES for rank in half]
    spans = {
        "before_sps": (begin - BEFORE_S + _BEGIN_S, begin),
        "during_sps": (begin, end),
        "after_sps": (end, end + AFTER_S),
    }
    halves = [
        {
            name: sum(training.steps_per_s(training.between(rows[rank], *span)) for rank in half)
            for name, span in spans.items()
        }
        for half in HALVES
    ]
    seen = MetricsReader(run.consensus_file).new_rows()
    apart = [(row["time"], row["consensus_rms"]) for row in seen]
    return {"halves": halves} | distances(apart, begin, end)


def distances(seen: Sequence[tuple[float, float]], begin: float, end: float) -> dict[str, Any]:
    """`distance` and `healed_s` of `_found`.

    Args:
        seen: (time, distance), in order.
        begin: of the cut.
        end: of the cut.
    """
    last = seen[-1][0]
    before = [d for t, d in seen if t < begin]
    during = [d for t, d in seen if end - (end - begin) / 3 <= t < end]
    after = [d for t, d in seen if t >= last - (last - end) / 3]
    healed = (t - end for t, d in seen if t >= end and d <= max(before))
    parts = {"before": before, "during": during, "after": after}
    return {
        "distance": {
            name: statistics.median(part) if part else None for name, part in parts.items()
        },
        "healed_s": next(healed, None),
    }


def main() -> int:
    """Returns 1 if a half has stopped or the distance did not come back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="PongNoFrameskip-v4")
    parser.add_argument("--simulators", type=int, default=8, help="of each learner")
    parser.add_argument("--link", action="store_true", help="cut the link of two machines")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    settings = {"env": options.env, "learners": 4, "simulators": options.simulators}
    settings |= {"steps": "1G", "log-every": 5}
    runs: list[dict[str, Any]] = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            runs.append((cut_of_link if options.link else cut_by_plan)(settings, Path(folder)))
    settings |= {"cut_s": CUT_S, "link": options.link}
    publish({"settings": settings, "runs": runs}, options.out)
    stopped = any(half["during_sps"] <= 0 for run in runs for half in run["halves"])
    return int(stopped or any(run["healed_s"] is None for run in runs))


if __name__ == "__main__":
    sys.exit(main())
