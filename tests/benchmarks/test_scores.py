"""Runs of docs/scores.md: names, order, what is kept of them, and going on after a stop."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.scores.__main__ import is_over, status, train
from benchmarks.scores.keep import CURVE_POINTS, curve_of, first_at, keep, thinned
from benchmarks.scores.runs import RUNS, ScoreRun
from gala_rl.errors import UserError
from gala_rl.records.run_folder import RunFolder

SHORT = ScoreRun("gala-a2c", "CartPole-v1", 2, 4, 3, steps=30_000)
GIVE_UP_S = 120.0


def row(time_s: float, steps: int, returns: list[float]) -> dict[str, object]:
    return {"time": time_s, "total_agent_steps": steps, "episode_returns": returns}


def test_names_are_unique_and_the_papers_games_come_first() -> None:
    names = [run.name for run in RUNS]
    assert len(set(names)) == len(names)
    first = [run for run in RUNS if run.stop_at is None][:6]
    assert [run.game for run in first] == [
        "Breakout",
        "Pong",
        "SpaceInvaders",
        "Qbert",
        "BeamRider",
        "Seaquest",
    ]
    assert {(run.method, run.learners, run.simulators, run.steps) for run in first} == {
        ("gala-a2c", 4, 16, 10_000_000)
    }


def test_the_arguments_name_all_that_differs_from_the_defaults() -> None:
    run = ScoreRun("gala-a2c", "ALE/Pong-v5", 2, 16, 4, preset="paper", stop_at=18.0)
    assert run.name == "pong-gala-a2c-2x16-sticky-paper-to-18-seed4"
    assert run.arguments[:4] == ["train", "gala-a2c", "--env", "ALE/Pong-v5"]
    assert "--preset paper --stop-at 18" in " ".join(run.arguments)
    assert "--preset" not in SHORT.arguments


def test_a_curve_begins_with_a_hundred_games_and_leaves_out_pauses() -> None:
    rows = [row(10.0 * i, 100 * i, [float(i)] * 30) for i in range(10)]
    rows += [{**r, "time": 10_000.0 + 10.0 * i} for i, r in enumerate(rows[5:], 1)]
    points = curve_of(rows)
    assert points[0]["agent_steps"] == 300, "the first 120 games"
    assert points[0]["mean_return"] == pytest.approx((0 * 10 + 30 * (1 + 2 + 3)) / 100)
    assert points[-1]["hours"] == pytest.approx(130 / 3600)
    assert first_at(points, 5.0) == next(p for p in points if p["mean_return"] >= 5.0)
    assert first_at(points, 50.0) is None


@pytest.mark.parametrize("count", [1, CURVE_POINTS, CURVE_POINTS + 1, 12_345])
def test_a_thinned_curve_has_its_last_point(count: int) -> None:
    points = [{"agent_steps": i} for i in range(count)]
    few = thinned(points)
    assert len(few) <= CURVE_POINTS
    assert few[-1] == points[-1]
    assert few == sorted(few, key=lambda point: point["agent_steps"])


def test_a_run_that_was_stopped_goes_on_and_its_result_is_kept(tmp_path: Path) -> None:
    runs, results = tmp_path / "runs", tmp_path / "results"
    run, out = RunFolder(runs / SHORT.name), results / SHORT.name
    assert "not run" in status([SHORT], runs, results)[0]
    command = [sys.executable, "-m", "gala_lab.main", *SHORT.arguments, "--out", str(run.path)]
    begun = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + GIVE_UP_S
    while not (run.metrics_file(0).is_file() and run.metrics_file(0).stat().st_size):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    begun.send_signal(signal.SIGINT)
    begun.wait(GIVE_UP_S)
    assert not is_over(run)
    assert f"at {run.checkpointed_agent_steps():,} of" in status([SHORT], runs, results)[0]

    train(SHORT, run)
    assert is_over(run)
    ended = run.summary_file.stat().st_mtime
    train(SHORT, run)
    assert run.summary_file.stat().st_mtime == ended, "it is not trained again"

    keep(SHORT, run, out)
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert result["resumed"] == 1
    assert result["training"]["agent_steps"] >= SHORT.steps
    assert len(result["evaluation"]["greedy"]["returns"]) == 30
    assert result["evaluation"]["sample"] != result["evaluation"]["greedy"]
    assert (out / "command.txt").read_text(encoding="utf-8").startswith("gala train gala-a2c --env")
    assert sum(file.stat().st_size for file in out.iterdir()) < 100_000
    assert "kept" in status([SHORT], runs, results)[0]


def test_a_run_that_fails_is_reported_with_its_log(tmp_path: Path) -> None:
    missing = ScoreRun("gala-a2c", "NoSuchGame-v0", 2, 4, 1)
    with pytest.raises(UserError, match=f"ended with code 2: see .*{missing.name}.log"):
        train(missing, RunFolder(tmp_path / missing.name))
