"""What RLlib's IMPALA loses when one of its runners is killed, as `gala bench faults` measures it.

benchmarks/peers/install.sh rllib && python -m benchmarks.faults.rllib --out RESULT.json
"""

import argparse
import json
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.faults.result import publish
from benchmarks.peers.systems import ROOT, systems
from gala_lab.bench.fault_costs import ProgressSample, costs

_RLLIB = systems()["rllib-impala"]
_LONGEST_S = 300.0


def runner_killed(runners: int, simulators: int, seconds: float) -> dict[str, Any]:
    """One training with a kill.

    Args:
        runners: processes that act, of which one is killed.
        simulators: of all runners together.
        seconds: to measure for before the kill, and after it.

    Returns:
        What `costs` returns for the learner, beside `restarts` and `resolution_s`: the median time
        of a batch, since steps are counted per batch.
    """
    command = [_RLLIB.command[0], "-m", "benchmarks.peers.rllib_kill"]
    command += ["--runners", str(runners), "--simulators", str(simulators)]
    done = subprocess.run(
        [*command, "--seconds", str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    seen = json.loads(done.stdout.splitlines()[-1])
    samples = [ProgressSample(time_s, [trained]) for time_s, trained in seen["samples"]]
    # The learner is none of those to whom it happens.
    found = costs(samples, seen["killed_s"], affected=())
    advances = [s.time_s for before, s in pairwise(samples) if s.agent_steps != before.agent_steps]
    batch_s = statistics.median(late - early for early, late in pairwise(advances))
    return {**found, "resolution_s": batch_s} | {n: seen[n] for n in ("restarts", "version")}


def main() -> int:
    """Returns 2 if RLlib is not installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runners", type=int, default=4)
    parser.add_argument("--simulators", type=int, default=32, help="of all runners together")
    parser.add_argument("--seconds", type=float, default=10.0, help="before the kill, and after")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    if not _RLLIB.installed:
        print(f"RLlib is not installed: run {_RLLIB.remedy}", file=sys.stderr)
        return 2
    settings = {n: getattr(options, n) for n in ("runners", "simulators", "seconds", "repeats")}
    rounds = [
        runner_killed(options.runners, options.simulators, options.seconds)
        for _ in range(options.repeats)
    ]
    publish({"settings": settings, "rounds": rounds}, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
