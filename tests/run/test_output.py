"""A run whose output stream was closed trains on and ends as it would have."""

import subprocess
import sys
from pathlib import Path

import pytest

from gala_rl.records.files import read_json
from gala_rl.records.run_folder import RunFolder
from tests.support.run_processes import CONFIG, GIVE_UP_S, ROOT
from tests.support.run_records import newest

STEPS = 2_000


def command(out: Path, *arguments: str) -> list[str]:
    settings = ["--env", CONFIG.env, "--simulators", "2", "--steps", str(STEPS), "--out", str(out)]
    return [sys.executable, "-m", "gala_lab.main", "train", "gala-a2c", *settings, *arguments]


def assert_ended_well(out: Path) -> None:
    summary = read_json(out / "summary.json")
    assert not summary["interrupted"]
    assert summary["agent_steps"] >= STEPS
    assert summary["restarts"] == 0
    assert newest(RunFolder(out)).agent_steps == summary["agent_steps"]


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(("--learners", "2"), marks=pytest.mark.slow), ("--learners", "2", "--serial")],
)
def test_a_run_goes_on_when_whoever_reads_along_has_gone(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with subprocess.Popen(
        command(tmp_path / "run", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("gala-a2c on ")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(GIVE_UP_S) == 0
    assert_ended_well(tmp_path / "run")


def test_a_run_goes_on_when_its_log_has_filled_a_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        arguments = command(tmp_path / "run", "--learners", "2", "--serial")
        process = subprocess.run(arguments, cwd=ROOT, stdout=full, stderr=full, check=False)
    assert process.returncode == 0
    assert_ended_well(tmp_path / "run")


def test_a_run_without_standard_streams_trains(tmp_path: Path) -> None:
    arguments = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command(tmp_path / "run")]
    process = subprocess.run([*arguments, "--learners", "2"], cwd=ROOT, check=False)
    assert process.returncode == 0
    assert_ended_well(tmp_path / "run")


def test_a_run_that_fails_says_so_by_its_exit_code_even_if_nobody_listens(tmp_path: Path) -> None:
    broken = ("--env", "tests.environments:AlwaysFailing-v0", "--max-restarts", "0")
    with Path("/dev/full").open("wb") as full:
        arguments = command(tmp_path / "run", "--learners", "1", "--serial", *broken)
        process = subprocess.run(arguments, cwd=ROOT, stdout=full, stderr=full, check=False)
    assert process.returncode == 1
