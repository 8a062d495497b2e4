"""Training runs behind a figure: each is made once, and one row of it is kept in a file."""

import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from rich.console import Console

import gala_rl
from benchmarks.learning_curve import curve_of, read_rows
from gala_rl.config.settings import LearningRateRule
from gala_rl.config.train import TrainConfig
from gala_rl.methods.a2c import A2CSettings
from gala_rl.records.metrics import RECENT_EPISODES, MetricsReader, MetricsWriter
from gala_rl.records.run_folder import RunFolder

SIMULATORS_A_LEARNER = 16
"""Simulators per learner of `gala-a2c`, as in the paper; `a2c` has one learner with all of them."""

Row = dict[str, Any]
"""The fields of a `Run` and, beside them, how it went."""


@dataclass(frozen=True)
class Run:
    """One training run, with the package's default settings for all that is not named here.

    Attributes:
        method: `a2c` or `gala-a2c`.
        simulators: of all learners together.
        seed: of the run.
        env: Gymnasium id.
        steps: budget, agent steps of all learners together.
        threshold: the run converges when the mean return of its last games reaches this.
        serial: all learners in one process, rather than each in its own.
        learning_rate_rule: as in `gala train`.
        bias_correction: as in `gala train`.
    """

    method: str
    simulators: int
    seed: int
    env: str
    steps: int
    threshold: float
    serial: bool = True
    learning_rate_rule: LearningRateRule = "sqrt"
    bias_correction: bool = False

    @property
    def learners(self) -> int:
        """Number of learners."""
        return 1 if self.method == "a2c" else self.simulators // SIMULATORS_A_LEARNER

    def config(self, out: Path) -> TrainConfig:
        """Its settings; a row of metrics covers as many agent steps whatever the method."""
        return TrainConfig(
            method=self.method,
            env=self.env,
            steps=self.steps,
            learners=self.learners,
            simulators=self.simulators // self.learners,
            seed=self.seed,
            device="cpu",
            serial=self.serial,
            log_every=5,
            out=str(out),
            algorithm=A2CSettings(
                learning_rate_rule=self.learning_rate_rule, bias_correction=self.bias_correction
            ),
        )


def plan(simulators: Iterable[int], seeds: int, common: Mapping[str, Any]) -> list[Run]:
    """Both methods at equal totals; a single learner of `gala-a2c` would be `a2c` once more.

    Args:
        simulators: totals.
        seeds: how many runs of each kind.
        common: the other fields of every run.
    """
    return [
        Run(method, total, seed, **common)
        for seed in range(seeds)
        for total in simulators
        for method in ("a2c", "gala-a2c")
        if method == "a2c" or total > SIMULATORS_A_LEARNER
    ]


def make(runs: Sequence[Run], file: Path, workers: int, commit: str | None) -> list[Row]:
    """Train what is not on file, and return the rows of all, in the order of `runs`.

    Args:
        runs: wanted.
        file: JSON lines, one a finished run, appended to.
        workers: runs at a time, each on a core of its own; with 1, a run has the whole machine.
        commit: of the code, kept in every new row.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    known = _on_file(file)
    missing = [run for run in runs if run not in known]
    with closing(MetricsWriter(file)) as writer:
        for done, row in enumerate(_train(missing, workers), start=1):
            writer.write({**row, "commit": commit})
            name = f"{row['method']}, {row['simulators']} simulators, seed {row['seed']}"
            print(f"{done} of {len(missing)}: {name}: {row['reached_agent_steps']}", flush=True)
    known = _on_file(file)
    return [known[run] for run in runs]


def outcome(points: Sequence[dict[str, float]], threshold: float) -> dict[str, Any]:
    """When the mean return over a full hundred games first reached the threshold, and its end."""
    full = [point for point in points if point["games"] == RECENT_EPISODES]
    there = [point for point in full if point["mean_return"] >= threshold]
    return {
        "reached_agent_steps": there[0]["total_agent_steps"] if there else None,
        "reached_s": round(3600 * there[0]["hours"], 3) if there else None,
        "best": max((point["mean_return"] for point in full), default=None),
        "last": full[-1]["mean_return"] if full else None,
    }


def train_one(run: Run) -> Row:
    """Train a run in a folder that is thrown away, and say how it went."""
    with tempfile.TemporaryDirectory() as parent:
        config = run.config(Path(parent) / "run")
        summary = gala_rl.train(config, Console(quiet=True))
        if summary["interrupted"]:
            raise KeyboardInterrupt
        points = curve_of(read_rows(RunFolder(Path(parent) / "run")))
    return {
        **asdict(run),
        "learners": run.learners,
        "agent_steps_per_s": round(summary["agent_steps_per_s"], 1),
        **outcome(points, run.threshold),
    }


def _on_file(file: Path) -> dict[Run, Row]:
    rows = MetricsReader(file).new_rows()
    # A field that is younger than a row had its default when the row was made.
    names = {field.name for field in fields(Run)}
    return {Run(**{name: row[name] for name in names & row.keys()}): row for row in rows}


def _train(runs: Sequence[Run], workers: int) -> Iterable[Row]:
    """Rows as the runs end."""
    if workers == 1:
        yield from map(train_one, runs)
        return
    context = multiprocessing.get_context("spawn")
    cores: SimpleQueue[int] = context.SimpleQueue()
    for worker in range(workers):
        cores.put(worker)
    executor = ProcessPoolExecutor(workers, context, _stay_on_one_core, (cores,))
    try:
        for future in as_completed([executor.submit(train_one, run) for run in runs]):
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def _stay_on_one_core(cores: "SimpleQueue[int]") -> None:
    """Take a core of one's own: runs beside each other then use one thread each."""
    worker = cores.get()
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {usable[worker % len(usable)]})
