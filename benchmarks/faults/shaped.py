"""What a slow and far link between two machines costs: trainings with and without it, in turn.

Over the slow link messages travel as they are and in half the bytes.

    sudo python -m benchmarks.faults.shaped --out RESULT.json

Each machine is a network namespace with a node of a Ray cluster; see `link`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.faults import training
from benchmarks.faults.link import Link
from benchmarks.faults.result import publish
from benchmarks.faults.two_machines import start_on, two_machines
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder

BITS_PER_S, DELAY_S = 1e9, 0.05
CASES = {
    "unshaped": (None, 0.0, "float32"),
    "shaped": (BITS_PER_S, DELAY_S, "float32"),
    "shaped, bfloat16": (BITS_PER_S, DELAY_S, "bfloat16"),
}
"""Bits a second and seconds each way of a link, and the precision of messages."""
_WARM_UP_S = 10.0


def train_over(
    link: Link, env: str, learners: int, seconds: float, precision: str
) -> dict[str, float]:
    """One training with half of its learners at each end of a link.

    Args:
        link: to be entered.
        env: of the training.
        learners: of both machines together.
        seconds: that are measured, after a warm-up.
        precision: of messages.

    Returns:
        `sps` of all learners, `mbit_per_s` that crossed in both directions, `distance`, the median
        root mean square distance from the mean, and `mixes_per_update`.
    """
    with tempfile.TemporaryDirectory() as temporary, link, two_machines(link) as address:
        run = RunFolder(Path(temporary) / "run")
        settings = {"env": env, "learners": learners, "learners-per-node": learners // 2}
        settings |= {"message-precision": precision}
        settings |= {"cluster": address, "out": run.path, "steps": "1G", "log-every": 5}
        process = start_on("gala-a2c", settings)
        with training.ended(process):
            training.wait_for_first_row(process, run)
            time.sleep(_WARM_UP_S)
            begin, passed = time.time(), link.bytes_passed
            time.sleep(seconds)
            end, passed = time.time(), link.bytes_passed - passed
            training.check_goes_on(process)
        files = (run.metrics_file(rank) for rank in range(learners))
        rows = [training.between(MetricsReader(file).new_rows(), begin, end) for file in files]
        seen = training.between(MetricsReader(run.consensus_file).new_rows(), begin, end)
    made, mixes = ([own[-1][x] - own[0][x] for own in rows] for x in ("updates", "mixes"))
    return {
        "sps": sum(training.steps_per_s(own) for own in rows),
        "mbit_per_s": 8e-6 * passed / (end - begin),
        "distance": statistics.median(row["consensus_rms"] for row in seen),
        "mixes_per_update": sum(mixes) / sum(made),
    }


def main() -> int:
    """Returns 0: whether the goal is met is for the reader of the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="PongNoFrameskip-v4")
    parser.add_argument("--learners", type=int, default=2, help="on both machines together")
    parser.add_argument("--seconds", type=float, default=40.0, help="that are measured")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    for _ in range(options.repeats):
        rounds.append(
            {
                name: train_over(
                    Link(rate, delay), options.env, options.learners, options.seconds, precision
                )
                for name, (rate, delay, precision) in CASES.items()
            }
        )
        print(json.dumps(rounds[-1]), flush=True)
    ratios = {
        name: [found[name]["sps"] / found["unshaped"]["sps"] for found in rounds]
        for name in CASES
        if name != "unshaped"
    }
    settings = {"env": options.env, "learners": options.learners, "seconds": options.seconds}
    settings |= {"bits_per_s": BITS_PER_S, "delay_s": DELAY_S}
    result = {"settings": settings, "rounds": rounds, "of_unshaped": ratios}
    publish(result, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
