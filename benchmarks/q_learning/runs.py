"""Training runs of Q-learning: each is made once, and one row of it is kept in a file."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

import gala_rl
from benchmarks.learning_curve import curve_of, read_rows
from benchmarks.q_learning.variants import VARIANTS
from gala_rl.app.evaluate import evaluate
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import with_settings
from gala_rl.records.metrics import MetricsReader, MetricsWriter
from gala_rl.records.run_folder import RunFolder

SIMULATORS = 16
"""Simulators of all learners together."""
GAMES = 20
"""Games with the best actions after training, by the mean of the learners' parameters."""

Row = dict[str, Any]
"""Case and seed, and how the run went."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Runs that differ by their seeds alone; what is not given has its preset.

    Attributes:
        task: name of the task, for tables.
        name: what is compared on this task.
        method: as in `gala train`.
        env: as in `gala train`.
        steps: agent steps of all learners together.
        learners: number of learners.
        lstm_size: units of the LSTM; 0: none; None: the method's own.
        settings: of the algorithm.
        variant: one of `VARIANTS`, which changes what the package does.
    """

    task: str
    name: str
    method: str
    env: str
    steps: int
    learners: int = 1
    lstm_size: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    variant: str = "as it is"

    def config(self, seed: int, out: Path) -> TrainConfig:
        """Return the config of a run in one process."""
        config = TrainConfig(
            method=self.method,
            env=self.env,
            steps=self.steps,
            learners=None if self.learners == 1 else self.learners,
            simulators=SIMULATORS // self.learners,
            seed=seed,
            lstm_size=self.lstm_size,
            device="cpu",
            serial=True,
            out=str(out),
        )
        return with_settings(config, self.settings) if self.settings else config


def make(cases: Sequence[Case], seeds: int, file: Path, commit: str | None) -> list[list[Row]]:
    """Train what is not on file; return the rows of each case, in the order of seeds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    known = _on_file(file)
    with closing(MetricsWriter(file)) as writer:
        for seed in range(seeds):
            for case in cases:
                if (case.task, case.name, seed) not in known:
                    row = {**train_one(case, seed), "commit": commit}
                    writer.write(row)
                    print(f"{case.task}, {case.name}, seed {seed}: {row['greedy']:.3g}", flush=True)
    known = _on_file(file)
    return [[known[case.task, case.name, seed] for seed in range(seeds)] for case in cases]


def train_one(case: Case, seed: int) -> Row:
    """Train a run in a folder that is thrown away, and say how it went."""
    with tempfile.TemporaryDirectory() as parent:
        run = Path(parent) / "run"
        with VARIANTS[case.variant]():
            summary = gala_rl.train(case.config(seed, run), Console(quiet=True))
        if summary["interrupted"]:
            raise KeyboardInterrupt
        points = curve_of(read_rows(RunFolder(run)))
        greedy = evaluate(run, episodes=GAMES)["results"][0]["mean_return"]
    return {
        "task": case.task,
        "name": case.name,
        "seed": seed,
        "greedy": greedy,
        "last": points[-1]["mean_return"],
        "auc": area(points),
        "agent_steps_per_s": round(summary["agent_steps_per_s"]),
        "curve": [[p["total_agent_steps"], round(p["mean_return"], 4)] for p in thinned(points)],
    }


def area(points: Sequence[Mapping[str, float]]) -> float:
    """Return the mean over agent steps of the curve: each value counts from the one before."""
    begins = [0.0, *(point["total_agent_steps"] for point in points[:-1])]
    weighted = [
        (point["total_agent_steps"] - begin) * point["mean_return"]
        for begin, point in zip(begins, points, strict=True)
    ]
    return sum(weighted) / points[-1]["total_agent_steps"]


def thinned(points: Sequence[Mapping[str, float]], most: int = 50) -> list[Mapping[str, float]]:
    """Return about as many of the points, with the last."""
    return list(reversed(points[:: -max(1, len(points) // most)]))


def _on_file(file: Path) -> dict[tuple[str, str, int], Row]:
    rows = MetricsReader(file).new_rows()
    return {(row["task"], row["name"], row["seed"]): row for row in rows}
