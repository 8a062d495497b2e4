"""Soak with faults: one of any kind every few seconds, for an hour, and what is left of the run.

The same training without faults runs beside it, as a reference for its score.

python -m benchmarks.faults.soak --minutes 60 --every 5 --seed 0 --out RESULT.json
python -m benchmarks.faults.soak --minutes 5 --every 3 --kinds kill --out RESULT.json

What it has found a problem with stays where `--keep` says.
"""

import argparse
import json
import random
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults import training
from benchmarks.faults.result import publish
from benchmarks.soak import Sample, minute_means, own_memory_mib, second_half, slope_of
from gala_rl.errors import UserError
from gala_rl.faults.plan import Fault, read_plan
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder, checkpoint_folders

LEARNERS, SIMULATORS = 4, 2
ENV = "CartPole-v1"
_SAMPLE_S = 2.0
_MINUTES_TO_JUDGE = 8
"""Memory and score of a shorter soak say nothing."""
_LATE_S = 60.0
"""By then a learner that dies several times in a row is back and meets the later faults."""
_HANG_AFTER_S = 30.0
"""Longer than any fault lasts: a learner that is ended for it has hung, a restart too many."""
_DAMAGE = {"wrong size", "not finite"}
"""Reasons to reject a message that only a fault may cause."""
_BEGIN_S = 5.0
"""The first fault comes so long after the first update."""


def random_plan(
    seconds: float, every_s: float, seed: int, of: Sequence[str] = ()
) -> dict[str, Any]:
    """Faults at random, as a plan.

    Args:
        seconds: in which they come.
        every_s: mean seconds between them.
        seed: of when, what and to whom.
        of: kinds; default: every kind but the one that ends a run.
    """
    draw, faults, at_s = random.Random(seed), list[dict[str, Any]](), _BEGIN_S
    kinds: list[str] = []
    while at_s < seconds:
        # Every kind once, in an order of its own, then again.
        kinds = kinds or draw.sample(list(of or _MAKE), len(of or _MAKE))
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


def fault_soak(
    seconds: float, every_s: float, seed: int, folder: Path, of: Sequence[str] = ()
) -> dict[str, Any]:
    """Train under a random plan for a while, stop, and check what is left.

    Args:
        seconds: to train for, from the first update.
        every_s: mean seconds between faults.
        seed: of the plan.
        folder: where plan and run are kept.
        of: kinds of faults; default: every kind but the one that ends a run.

    Returns:
        `problems`, a line each, beside counts, the supervisor's memory, and `returns`, see there.
    """
    plan, log = folder / "plan.json", folder / "train.log"
    plan.write_text(json.dumps(random_plan(seconds, every_s, seed, of)), encoding="utf-8")
    run, fault_free = RunFolder(folder / "run"), RunFolder(folder / "fault-free")
    settings = {"env": ENV, "learners": LEARNERS, "simulators": SIMULATORS, "steps": "1G"}
    settings |= {"checkpoint-every": max(1, seconds / 20), "checkpoints-kept": 100}
    # Deaths come as they come; whether all are followed by a restart is what is asked.
    faulty = {"fault-plan": plan, "max-restarts": 1_000_000, "hang-after": _HANG_AFTER_S}
    twin = training.start("gala-a2c", settings | {"out": fault_free.path})
    seen: set[psutil.Process] = set()
    with training.ended(twin):
        training.wait_for_first_row(twin, fault_free)
        process = training.start("gala-a2c", settings | faulty | {"out": run.path}, log)
        training.wait_for_first_row(process, run)
        samples = _watch(process, seconds, seen)
        training.check_goes_on(twin)
        process.send_signal(signal.SIGINT)
        code = process.wait(training.STOP_S)
    _, orphans = psutil.wait_procs(list(seen), timeout=10.0)
    means = second_half(minute_means(samples))
    is_judged = seconds >= 60 * _MINUTES_TO_JUDGE
    slope = slope_of(means) if is_judged else None
    score = returns(_second_half(run), _second_half(fault_free))
    rows = MetricsReader(run.faults_file).new_rows()
    sudden = [f.index for f in read_plan(plan) if not f.is_lasting and _is_due(f, seconds)]
    problems = [*_problems(run, rows, sudden), *(f"orphan {p.pid}" for p in orphans)]
    if code != 130:
        problems.append(f"exit code {code} instead of 130")
    if slope is not None and slope.is_growth:
        problems.append(f"the supervisor's memory grows by {slope.mib_per_hour:.1f} MiB an hour")
    # Some are open for moments only, while a learner is started.
    first, last = (min(s.handles for s in half) for half in _halves(samples))
    if last > first:
        problems.append(f"the supervisor has {last} files open at least, and had {first}")
    if is_judged and score["with_faults"] < score["fault_free"][0]:
        problems.append("the score is below those of the run without faults")
    return {
        "seconds": seconds,
        "every_s": every_s,
        "seed": seed,
        "faults": Counter(row["kind"] for row in rows if row["phase"] == "begin"),
        "agent_steps": run.read_summary().get("agent_steps"),
        "restarts": run.read_summary().get("restarts"),
        "deaths": deaths(log.read_text(encoding="utf-8")),
        "checkpoints": len(checkpoint_folders(run.checkpoints)),
        "supervisor_mib": [round(mean, 2) for mean in minute_means(samples).values()],
        "slope": None if slope is None else asdict(slope),
        "returns": score,
        "problems": problems,
    }


def deaths(log: str) -> dict[str, int]:
    """Count the ways in which learners ended, from the notices of the run.

    Args:
        log: what `gala train` has printed.
    """
    told = r"learner \d+ (?:died|gave no sign of life) (.+?)(?: and is restarted|: killed)"
    return dict(Counter(re.findall(told, log)))


def returns(
    with_faults: Sequence[Mapping[str, Any]], fault_free: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Mean returns of a learner's last games, from the metrics of a run and of its twin.

    Args:
        with_faults: rows of all learners of the run with faults.
        fault_free: rows of all learners of the other.

    Returns:
        `with_faults`, their median; `fault_free`, the two between which nine of ten are.
    """
    scores, undisturbed = (
        [row["mean_return"] for row in rows if row["mean_return"] is not None]
        for rows in (with_faults, fault_free)
    )
    twentieths = statistics.quantiles(undisturbed, n=20)
    return {
        "with_faults": statistics.median(scores),
        "fault_free": [twentieths[0], twentieths[-1]],
    }


def _second_half(run: RunFolder) -> list[dict[str, Any]]:
    """Rows of all learners since half of the time had passed."""
    rows = [
        row for rank in range(LEARNERS) for row in MetricsReader(run.metrics_file(rank)).new_rows()
    ]
    times = [row["time"] for row in rows]
    middle = (min(times) + max(times)) / 2
    return [row for row in rows if row["time"] >= middle]


def _halves(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    return samples[: len(samples) // 2], samples[len(samples) // 2 :]


def _watch(process: training.Process, seconds: float, seen: set[psutil.Process]) -> list[Sample]:
    """Sample the supervisor for this long, with the processes that it starts."""
    samples, start = list[Sample](), time.monotonic()
    while (elapsed_s := time.monotonic() - start) < seconds:
        time.sleep(_SAMPLE_S)
        training.check_goes_on(process)
        supervisor, *others = training.family(process)
        seen.update(others)
        memory, handles = own_memory_mib(supervisor), supervisor.num_fds()
        threads = supervisor.num_threads()
        samples.append(Sample(elapsed_s / 60, "supervisor", memory, handles, threads))
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
    folders = checkpoint_folders(run.checkpoints)
    problems += [] if folders else ["there is no checkpoint"]
    for folder in folders:
        try:
            checkpoint.open_checkpoint(folder)
        except UserError as error:
            problems.append(str(error))
    corrupted = any(row["kind"] == "corrupt" for row in rows)
    for rank in range(LEARNERS):
        own = MetricsReader(run.metrics_file(rank)).new_rows()
        updates = [row["updates"] for row in own]
        if updates != sorted(set(updates)):
            problems.append(f"learner {rank} has counted backwards")
        if (torn := _DAMAGE & set(own[-1]["rejected"])) and not corrupted:
            problems.append(f"learner {rank} got messages that were {' and '.join(torn)}")
    if run.defects.exists():
        problems.append("a distance was beyond its bound: see defects/")
    return problems


def main() -> int:
    """Returns 1 if there are problems."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=5.0, help="mean seconds between faults")
    parser.add_argument("--seed", type=int, default=0, help="of the plan")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=[], help="of faults")
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    parser.add_argument("--keep", type=Path, help="where runs with problems are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = 60 * options.minutes
        found = fault_soak(seconds, options.every, options.seed, Path(folder), options.kinds)
        if found["problems"] and options.keep is not None:
            shutil.copytree(folder, options.keep)
    publish(found, options.out)
    return int(bool(found["problems"]))


if __name__ == "__main__":
    sys.exit(main())
