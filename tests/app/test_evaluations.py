"""Evaluation while a run trains: its rows, its cost, and failures that never end the run."""

import json
import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gala_rl.app import evaluations
from gala_rl.app.evaluations import Evaluations
from gala_rl.app.train import resume, train
from gala_rl.methods.resolving import resolve
from gala_rl.records.best import read_score
from gala_rl.records.files import read_json
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from tests.support.run_processes import CONFIG, children
from tests.support.run_records import newest

QUIET = Console(quiet=True)
COUNTING = replace(
    CONFIG,
    env="tests.environments:Counting-v0",
    learners=2,
    evaluate_every=1_000,
    evaluate_episodes=2,
    checkpoint_every=1e6,
)


def evaluated(folder: RunFolder) -> list[dict[str, Any]]:
    return MetricsReader(folder.evaluation_file).new_rows()


@pytest.mark.parametrize("serial", [False, True], ids=["processes", "serial"])
def test_a_run_is_evaluated_while_it_trains(
    serial: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    folder = RunFolder(run)
    config = replace(COUNTING, out=str(run), serial=serial, steps=10**9)

    def after_two(folder_: Path, agent_steps: int) -> str | None:
        return "stop" if len(evaluated(folder)) >= 2 else None

    summary = train(config, on_checkpoint=after_two)
    rows = evaluated(folder)
    steps = [row["total_agent_steps"] for row in rows]
    assert len(rows) >= 3
    assert all(later - before >= 1_000 for before, later in pairwise(steps[:-1]))
    assert steps[-1] == summary["agent_steps"] == newest(folder).agent_steps, "the last one too"
    for row in rows:
        assert row["greedy_returns"] == row["sampled_returns"] == [28.0, 28.0]
        assert row["greedy_mean_return"] == row["sampled_mean_return"] == 28.0
        assert (row["games_cut"], row["simulator_failures"]) == (0, 0)
        assert row["cpu_s"] > 0
    assert len({row["seed"] for row in rows}) == len(rows)
    score = read_score(folder.checkpoints)
    assert score == {"mean_return": 28.0, "agent_steps": steps[0], "by": "evaluation"}
    assert not (folder.checkpoints / ".evaluated").exists()
    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    for name in ("greedy_mean_return", "sampled_mean_return"):
        assert [event.step for event in events.Scalars(f"evaluation/{name}")] == steps
    assert children() == []


def fake(folder: RunFolder, **changes: Any) -> Evaluations:
    config = resolve(replace(COUNTING, **changes))
    folder.create(config)
    return Evaluations(config, folder, 0)


def test_evaluations_are_due_by_agent_steps(tmp_path: Path) -> None:
    due = fake(RunFolder(tmp_path / "run"), evaluate_every=1_000)._is_due
    assert [due(steps) for steps in (0, 999, 1_000)] == [False, False, True]


def test_evaluations_without_an_interval_keep_to_their_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(evaluations, "usable_cores", lambda: 2)
    monkeypatch.setattr(evaluations, "time", SimpleNamespace(monotonic=lambda: now))
    due = fake(RunFolder(tmp_path / "run"), evaluate_every=0)
    assert not due._is_due(0)
    assert due._is_due(1)
    due.latest, due._started_at = {"cpu_s": 4.0}, now
    now += 99.0
    assert not due._is_due(50)
    now += 2.0
    assert due._is_due(50), "4 s are 2 % of 100 s on two cores"


def test_without_the_setting_nothing_is_started(tmp_path: Path) -> None:
    off = fake(RunFolder(tmp_path / "run"), evaluate_every=None)
    assert off.poll([tmp_path], 10**9) == ([], False)
    assert off.finish(tmp_path / "step_000000000001") == []


def disturbed(run: Path, number: int, times: int, **changes: Any) -> tuple[dict[str, Any], str]:
    """A run whose first evaluations get a signal; its summary and what it prints."""
    hurt: set[int] = set()

    def on_row(row: Any) -> str | None:
        for child in psutil.Process().children(recursive=True):
            if child.name().startswith("gala-evaluation") and child.pid not in hurt:
                hurt.add(child.pid)
                os.kill(child.pid, number)
        return "stop" if len(hurt) >= times else None

    with (run.parent / "printed").open("w", encoding="utf-8") as file:
        config = replace(COUNTING, out=str(run), steps=10**9, **changes)
        summary = train(config, Console(file=file, width=200), on_row=on_row)
    return summary, (run.parent / "printed").read_text(encoding="utf-8")


def test_evaluations_that_are_killed_are_told_and_given_up(tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary, printed = disturbed(run, signal.SIGKILL, 3, evaluate_episodes=1_000)
    assert "agent steps failed (exit code -9): see logs/evaluation.log" in printed
    assert not summary["failed"]
    assert summary["restarts"] == 0
    assert children() == []


def test_an_evaluation_that_hangs_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary, printed = disturbed(run, signal.SIGSTOP, 1, hang_after=8.0, evaluate_episodes=1_000)
    assert "gave no sign of life for 8 s: killed" in printed
    assert not summary["failed"]
    assert children() == []


def test_rows_after_the_checkpoint_are_removed_when_a_run_is_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = replace(COUNTING, out=str(run), steps=200, evaluate_every=None, serial=True)
    made = train(config, QUIET)["agent_steps"]
    folder = RunFolder(run)
    row = {"time": 1.0, "greedy_mean_return": 1.0, "sampled_mean_return": 1.0}
    lines = [
        json.dumps(row | {"elapsed_s": 1.0, "cpu_s": 1.0, "total_agent_steps": steps})
        for steps in (made, made + 1)
    ]
    folder.evaluation_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    resume(run, 400, QUIET, changes={"evaluate_every": 150, "evaluate_episodes": 1})
    steps = [row["total_agent_steps"] for row in evaluated(folder)]
    assert (steps[0], steps[-1]) == (made, newest(folder).agent_steps)
    assert made + 1 not in steps
    (entry,) = read_json(folder.config_file)["resumes"]
    assert entry["changes"]["evaluate_every"] == [None, 150]
