"""The command line of `gala study`: rows, resumption, tables, and mistakes in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from gala_lab.study.cell import Cell
from gala_lab.study.plan import ROWS, read_rows

SHORT = [
    *("--envs", "gym-vec:CartPole-v1", "--simulators-total", "8", "--learners", "1,2"),
    *("--rates", "1,2", "--steps", "8k"),
]


def study(folder: Path, *arguments: str) -> int:
    return main(["study", "--out", str(folder), *SHORT, *arguments])


def runs_of(folder: Path) -> set[tuple[int, float, str, int]]:
    return {
        (row["cell"]["learners"], row["cell"]["rate"], row["cell"]["second_moment"], row["seed"])
        for row in read_rows(folder)
    }


def test_a_study_has_a_row_a_run_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    assert study(folder, "--seeds", "2", "--second-moments", "local") == 0
    assert "one large batch" in capsys.readouterr().out
    first = {(n, rate, "local", seed) for n in (1, 2) for rate in (1.0, 2.0) for seed in (0, 1)}
    assert runs_of(folder) == first
    row = read_rows(folder)[0]
    assert row["auc"] > 5
    assert row["best"] >= row["final"]
    assert len(row["curve"]) == 50
    before = (folder / ROWS).read_text()
    # Half a row, as a power cut leaves it.
    (folder / ROWS).write_text(before[:-20])
    assert study(folder, "--seeds", "2", "--second-moments", "local,split", "--json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == len(first) + 4
    assert runs_of(folder) == first | {(2, rate, "split", s) for rate in (1, 2) for s in (0, 1)}


def test_the_same_seeds_give_the_same_rows(tmp_path: Path) -> None:
    found = []
    for name in ("one", "other"):
        assert study(tmp_path / name, "--seeds", "2") == 0
        rows = read_rows(tmp_path / name)
        found.append({json.dumps([row["cell"], row["seed"]]): row["curve"] for row in rows})
    assert found[0] == found[1]
    assert len({json.dumps(curve) for curve in found[0].values()}) == len(found[0])


def test_the_algorithm_is_an_option(tmp_path: Path) -> None:
    assert study(tmp_path / "study", "--seeds", "1", "--algorithm", "ppo") == 0
    assert {row["cell"]["algorithm"] for row in read_rows(tmp_path / "study")} == {"ppo"}


def test_a_rate_at_which_training_diverges_is_a_row_and_not_the_end(tmp_path: Path) -> None:
    assert study(tmp_path / "study", "--seeds", "1", "--rates", "1,1e29", "--learners", "2") == 0
    finite = {row["cell"]["rate"]: row["finite"] for row in read_rows(tmp_path / "study")}
    assert finite == {1.0: True, 1e29: False}


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--learners", "3"],
            "simulators_total 8 cannot be shared by 3 learners: use a multiple of 3",
        ),
        (["--steps", "10"], "steps 10 is too small: an update of all learners takes 40"),
        (["--topologies", "rign"], "topology 'rign' is unknown"),
        (["--second-moments", "global"], "second_moment 'global' is unknown"),
        (["--optimizers", "sgd"], "optimizer 'sgd' is unknown"),
        (["--algorithm", "impala"], "--algorithm 'impala' is unknown: choose one of a2c, ppo"),
        (["--rollout-steps", "8"], "option --rollout-steps is unknown"),
        (["--missed", "1.5"], "missed 1.5 is too large"),
        (["--rates", "0"], "rates 0.0 is too small"),
        (["--envs", "CartPole-v7"], "CartPole"),
        (["--envs", "Pendulum-v1"], "single discrete action"),
        (["--second-moments", "split", "--simulators-total", "2"], "half"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert study(tmp_path / "study", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "study").exists()


def test_a_folder_with_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert study(tmp_path) == 2
    assert "is not empty" in capsys.readouterr().err
    (tmp_path / ROWS).write_text("mine\nmine\n")
    assert study(tmp_path) == 2
    assert "line 1 is not a row" in capsys.readouterr().err
    cell = asdict(Cell(env="CartPole-v1", algorithm="a2c", learners=1, simulators=4, steps=100))
    del cell["bias_correction"]
    (tmp_path / ROWS).write_text(json.dumps({"cell": cell, "seed": 0}) + "\n")
    assert study(tmp_path) == 2
    assert "line 1 is not a row of this version" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_study_that_is_stopped_keeps_its_rows_and_leaves_no_process(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "gala_lab.main", "study", "--out", str(tmp_path / "study")]
    long = ["--seeds", "500", "--at-once", "2"]
    process = subprocess.Popen([*command, *SHORT, *long], start_new_session=True)
    deadline, file = time.monotonic() + 120, tmp_path / "study" / ROWS
    # The file is there a moment before its first row.
    while not (file.exists() and b"\n" in file.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(60) == code
    assert read_rows(tmp_path / "study")
    deadline = time.monotonic() + 30
    while is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(process.pid)
