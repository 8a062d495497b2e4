"""Soak with faults: one of any kind every few seconds, for an hour, and what is left of the run.

python -m benchmarks.fault_soak --minutes 60 --every 5 --seed 0 --out RESULT.json
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.soak import Sample, minute_means, own_memory_mib, second_half, slope_of
from gala_rl.faults.plan import Fault, read_plan
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.provenance import provenance
from gala_rl.records.run_folder import RunFolder

LEARNERS, SIMULATORS = 4, 2
ENV = "CartPole-v1"
_SAMPLE_S = 2.0
_STOP_S = 120.0
_MINUTES_OF_A_SLOPE = 8
_LATE_S = 60.0
"""A learner that dies several times in a row is back by then, to suffer what has come meanwhile."""
_BEGIN_S = 5.0
"""The first fault comes so long after the first update."""


def random_plan(seconds: float, every_s: float, seed: int) -> dict[str, Any]:
    """Faults of every kind but the one that ends a run, at random, as a plan."""
    draw, faults, at_s = random.Random(seed), list[dict[str, Any]](), _BEGIN_S
    kinds: list[str] = []
    while at_s < seconds:
        # Every kind once, in an order of its own, then again.
        kinds = kinds or draw.sample(list(_MAKE), len(_MAKE))
        learner, lasts_s = draw.randrange(LEARNERS), draw.uniform(0.5, 2.0) * every_s
        fault = {"kind": (kind := kinds.pop()), "at_s": round(at_s, 2)}
        faults.append(fault | _MAKE[kind](draw, learner, round(lasts_s, 2)))
        at_s += draw.uniform(0.5, 1.5) * every_s
    return {"faults": faults}


def _edge(learner: int, lasts_s: float) -> dict[str, Any]:
    """What the learner hears on the directed ring."""
    return {"senders": [(learner - 1) % LEARNERS], "receivers": [learner], "seconds": lasts_s}


_MAKE: Mapping[str, Any] = {
    "kill": lambda draw, i, s: {"learner": i},
    "nan": lambda draw, i, s: {"learner": i},
    "stop": lambda draw, i, s: {"learner": i, "seconds": s},
    "slow": lambda draw, i, s: {"learner": i, "seconds": s, "factor": draw.uniform(2, 8)},
    "simulator-crash": lambda draw, i, s: {"learner": i, "simulator": draw.randrange(SIMULATORS)},
    "cut": lambda draw, i, s: _edge(i, s) | {"both_ways": True},
    "delay": lambda draw, i, s: _edge(i, s) | {"delay_s": draw.uniform(0.01, 0.2)},
    "duplicate": lambda draw, i, s: _edge(i, s),
    "corrupt": lambda draw, i, s: _edge(i, s) | {"how": draw.choice(["nan", "size", "bits"])},
}


def fault_soak(seconds: float, every_s: float, seed: int, folder: Path) -> dict[str, Any]:
    """Train under a random plan for a while, stop, and look at what is left.

    Args:
        seconds: to train for, from the first update.
        every_s: mean seconds between faults.
        seed: of the plan.
        folder: where plan and run are kept.

    Returns:
        `problems`, a line each, beside counts and the supervisor's memory.
    """
    plan = folder / "plan.json"
    plan.write_text(json.dumps(random_plan(seconds, every_s, seed)), encoding="utf-8")
    run = RunFolder(folder / "run")
    settings = {"env": ENV, "learners": LEARNERS, "simulators": SIMULATORS, "steps": "1G"}
    settings |= {"fault-plan": plan, "out": run.path, "checkpoint-every": max(1, seconds / 20)}
    # Deaths come as they come; whether all are followed by a restart is what is asked.
    settings |= {"max-restarts": 1_000_000}
    command = [sys.executable, "-m", "gala_rl.cli", "train", "gala-a2c"]
    command += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    training = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    seen: set[psutil.Process] = set()
    samples = _watch(training, run, seconds, seen)
    training.send_signal(signal.SIGINT)
    code = training.wait(_STOP_S)
    _, orphans = psutil.wait_procs(list(seen), timeout=10.0)
    means = second_half(minute_means(samples))
    slope = slope_of(means) if len(means) * 2 >= _MINUTES_OF_A_SLOPE else None
    rows = MetricsReader(run.faults_file).new_rows()
    sudden = [f.index for f in read_plan(plan) if not f.is_lasting and _is_due(f, seconds)]
    problems = [*_problems(run, rows, sudden), *(f"orphan {p.pid}" for p in orphans)]
    if code != 130:
        problems.append(f"exit code {code} instead of 130")
    if slope is not None and slope.is_growth:
        problems.append(f"the supervisor's memory grows by {slope.mib_per_hour:.1f} MiB an hour")
    return {
        "seconds": seconds,
        "every_s": every_s,
        "seed": seed,
        "faults": Counter(row["kind"] for row in rows if row["phase"] == "begin"),
        "agent_steps": run.read_summary().get("agent_steps"),
        "restarts": run.read_summary().get("restarts"),
        "supervisor_mib": [round(mean, 2) for mean in minute_means(samples).values()],
        "slope": None if slope is None else asdict(slope),
        "problems": problems,
    }


def _watch(
    training: subprocess.Popen[bytes], run: RunFolder, seconds: float, seen: set[psutil.Process]
) -> list[Sample]:
    """Samples of the supervisor, until that many seconds after the first row of metrics."""
    supervisor, samples, start = psutil.Process(training.pid), list[Sample](), time.monotonic()
    first = run.metrics_file(0)
    while time.monotonic() - start < seconds:
        if not (first.is_file() and first.stat().st_size):
            start = time.monotonic()
        time.sleep(_SAMPLE_S)
        if training.poll() is not None:
            raise RuntimeError(f"training ended by itself with code {training.returncode}")
        seen.update(supervisor.children(recursive=True))
        minutes, memory = (time.monotonic() - start) / 60, own_memory_mib(supervisor)
        handles, threads = supervisor.num_fds(), supervisor.num_threads()
        samples.append(Sample(minutes, "supervisor", memory, handles, threads))
    return samples


def _is_due(fault: Fault, seconds: float) -> bool:
    """Whether it must have come by the end, even to a learner that was being restarted then."""
    return fault.at_s is not None and fault.at_s + _LATE_S < seconds


def _problems(run: RunFolder, rows: list[dict[str, Any]], sudden: list[int]) -> list[str]:
    """What should not be, after any number of faults."""
    problems = []
    begun = {row["fault"] for row in rows if row["phase"] == "begin"}
    problems += [f"fault {index} did not come" for index in sudden if index not in begun]
    fatal = sum(row["kind"] in ("kill", "nan") for row in rows)
    restarts = run.read_summary().get("restarts", 0)
    if not fatal - LEARNERS <= restarts <= fatal:
        problems.append(f"{restarts} restarts after {fatal} deaths")
    saved = checkpoint.newest(run.checkpoints)
    if saved is None:
        problems.append("there is no checkpoint")
    for rank in range(LEARNERS):
        updates = [row["updates"] for row in MetricsReader(run.metrics_file(rank)).new_rows()]
        if updates != sorted(set(updates)):
            problems.append(f"learner {rank} has counted backwards")
    if run.defects.exists():
        problems.append("a distance was beyond its bound: see defects/")
    return problems


def main() -> int:
    """Returns 1 if there are problems."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=5.0, help="mean seconds between faults")
    parser.add_argument("--seed", type=int, default=0, help="of the plan")
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fault_soak(60 * options.minutes, options.every, options.seed, Path(folder))
    text = json.dumps({**found, **provenance()}, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    return int(bool(found["problems"]))


if __name__ == "__main__":
    sys.exit(main())
