"""Comparisons with real processes: killed, stopped, continued, extended, failing."""

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gala_lab.compare import run_schedule
from gala_lab.compare.compare_options import CompareOptions
from gala_lab.compare.run_schedule import evaluation_of
from gala_lab.main import main
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records.files import read_json, write_json
from gala_rl.records.run_folder import RunFolder
from tests.support.comparison_rows import make_run
from tests.support.run_folders import tree
from tests.support.run_processes import ROOT, learners_of, survivors, wait_until

STEPS = 8_000
LONG = [
    "compare", "a2c", "--env", "tests.environments:Slow-v0", "--steps", str(STEPS),
    "--threshold", "-100", "--serial", "--at-once", "2",
]  # fmt: skip
"""With room for two a run has one core: a second thread only gets in the way on a busy machine."""


def begin(folder: Path) -> subprocess.Popen[bytes]:
    """The comparison of one method with one seed, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "gala_lab.main", *LONG, "--seeds", "1", "--out", str(folder)],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def steps_of(run: RunFolder) -> int:
    """At its newest checkpoint."""
    return run.checkpointed_agent_steps() or 0


def rows_in(run: RunFolder) -> int:
    file = run.metrics_file(0)
    return file.read_bytes().count(b"\n") if file.is_file() else 0


@pytest.mark.slow
def test_a_comparison_that_is_killed_and_stopped_goes_on_and_grows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "there"
    run = RunFolder(folder / "runs" / "a2c-seed-0")

    killed = begin(folder)
    wait_until(lambda: rows_in(run) > 5)
    processes = learners_of(killed)
    assert processes
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert survivors(processes) == []
    made, rows = steps_of(run), rows_in(run)
    assert 0 < made < STEPS, "it stopped by itself, with a checkpoint"

    stopped = begin(folder)
    wait_until(lambda: rows_in(run) > rows)
    # As a terminal does: to all processes of its group.
    os.killpg(stopped.pid, signal.SIGINT)
    told = stopped.communicate(timeout=60)[0].decode()
    assert stopped.returncode == 130
    assert "a2c, seed 0: stopped" in told
    assert "continue with the same command" in told
    assert "Traceback" not in told
    assert made < steps_of(run) < STEPS

    assert main([*LONG, "--seeds", "1", "--out", str(folder)]) == 0
    assert "runs that reach -100" in capsys.readouterr().out
    assert steps_of(run) == STEPS
    assert len(read_json(run.config_file)["resumes"]) == 2
    assert len(read_json(folder / "compare.json")["calls"]) == 3
    (first,) = read_json(folder / "result.json")["methods"]["a2c"]["runs"]
    assert first["complete"]
    assert first["agent_steps"] == STEPS

    before = tree(run.path)
    assert main([*LONG, "--seeds", "2", "--out", str(folder)]) == 0
    result = read_json(folder / "result.json")
    assert [r["seed"] for r in result["methods"]["a2c"]["runs"]] == [0, 1]
    assert tree(run.path) == before, "what is complete is left alone"
    assert (folder / "table.md").is_file()

    capsys.readouterr()
    before = tree(folder / "runs")
    assert main([*LONG, "--seeds", "2", "--out", str(folder), "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["seeds"] == [0, 1]
    assert "2 seeds are few" in document["notes"][0]
    assert printed.err == "", "nothing is trained"
    assert tree(folder / "runs") == before
    assert len(read_json(folder / "compare.json")["calls"]) == 4

    assert main([*LONG, "--out", str(folder), "--steps", "9k"]) == 2
    assert "steps 9000 of a2c is not what comparison" in capsys.readouterr().err


SHORT = ["--env", "CartPole-v1", "--steps", "400", "--serial", "--learners", "2"]


def test_methods_are_trained_side_by_side_and_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "a2c", "gala-a2c", *SHORT, "--seeds", "1", "--at-once", "2"]
    command += ["--out", str(tmp_path / "there")]
    unborn = tmp_path / "there" / "runs" / "a2c-seed-0"
    (unborn / "metrics").mkdir(parents=True)
    begun = {"methods": {}, "seeds": [], "calls": [{"at_once": 1}]}
    write_json(tmp_path / "there" / "compare.json", begun)
    assert main([*command, "--episodes", "2", "--max-steps", "5"]) == 0
    printed = capsys.readouterr().out
    cut = "a2c: games cut after 5 agent steps (--max-steps): 2;"
    for words in (
        "a2c, seed 0: mean return",
        "greedy, 2 games per run",
        "up to 2 runs at once",
        cut,
    ):
        assert words in printed
    result = read_json(tmp_path / "there" / "result.json")
    for method in result["methods"].values():
        assert method["evaluation"]["runs"] == 1
        assert method["learners"] * method["simulators"] == 16
        assert method["runs"][0]["evaluation_games_cut"] == 2
    evaluation = read_json(unborn / "evaluation.json")
    assert (evaluation["policy"], evaluation["episodes"]) == ("greedy", 2)
    config = resolve(replace(RunFolder(unborn).read_config(), out=str(unborn)))
    assert evaluation_of(config, CompareOptions(episodes=2, max_steps=5)) == evaluation
    for episodes, max_steps in ((2, 6), (2, None), (3, 5)):
        options = CompareOptions(episodes=episodes, max_steps=max_steps)
        assert evaluation_of(config, options) is None


def test_an_evaluation_that_was_stopped_tells_its_games_and_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(TrainConfig(env="CartPole-v1", method="a2c", steps=400, out=str(tmp_path)))
    make_run(config, [], complete=True)
    stopped = {
        "interrupted": True,
        "episodes": 9,
        "results": [{"returns": [1.0, 2.0], "mean_return": 1.5}],
    }
    monkeypatch.setattr("gala_rl.app.evaluate.evaluate", lambda *_, **__: stopped)
    file = io.StringIO()
    assert run_schedule._train(config, CompareOptions(episodes=9), Console(file=file)) == 130
    assert file.getvalue() == "2 of 9 games were over: mean return 1.50\n"
    assert not (tmp_path / "evaluation.json").exists()


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "a2c", "--env", "tests.environments:AlwaysFailing-v0", "--seeds", "2"]
    command += ["--steps", "400", "--max-restarts", "0", "--out", str(tmp_path / "there")]
    assert main(command) == 1
    printed = capsys.readouterr().out
    for words in ("1 of 2: a2c, seed 0: failed", "2 of 2: a2c, seed 1: failed", "0 of 2"):
        assert words in printed
    assert "a2c: seed 0, 1 failed" in printed


def test_one_comparison_is_made_by_one_process_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunFolder(tmp_path).lock():
        (tmp_path / "compare.json").write_text('{"methods": {}, "seeds": []}')
        assert main(["compare", "a2c", *SHORT[:4], "--out", str(tmp_path)]) == 2
    assert "another process" in capsys.readouterr().err
