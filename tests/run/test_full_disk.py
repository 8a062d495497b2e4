"""A disk that fills up during a run: said in one line, and what was saved before still loads."""

import contextlib
import io
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gala_lab.main import main
from gala_rl.app.train import resume, train
from gala_rl.errors import StorageError, UserError
from gala_rl.records.run_folder import RunFolder
from tests.support.run_processes import CONFIG, children, make_local_run
from tests.support.run_records import newest

KIBIBYTES = 1000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for a few checkpoints."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size={KIBIBYTES}k"
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip("a small disk can only be mounted with the rights to do so")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("serial", [False, True])
def test_a_full_disk_ends_the_run_in_one_line_and_loses_nothing(
    small_disk: Path, serial: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_disk / "run"
    arguments = ["train", "gala-a2c", "--env", CONFIG.env, "--learners", "2", "--simulators", "2"]
    arguments += ["--steps", "1G", "--log-every", "5", "--checkpoint-every", "0.2"]
    arguments += ["--checkpoints-kept", "1000", "--out", str(run)]
    assert main([*arguments, *(["--serial"] if serial else [])]) == 1
    error = capsys.readouterr().err
    assert error.startswith("gala: ")
    assert error.count("\n") == 1
    assert "write" in error or "written" in error
    assert f"make room, then: gala resume {run}" in error
    assert children() == []
    saved = newest(RunFolder(run))
    assert saved.learners() == [0, 1]
    fill(small_disk)
    with pytest.raises(UserError, match="make room"):
        resume(run)

    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    summary = resume(run, steps=saved.agent_steps + 1_000)
    assert summary["agent_steps"] >= saved.agent_steps + 1_000


def fill(disk: Path) -> None:
    """Leave no byte."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_learner_that_can_write_no_metrics_is_not_restarted_in_vain(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    folder.metrics_file(1).symlink_to("/dev/full")
    outcome = make_local_run(CONFIG, folder).run(lambda status: None)
    assert isinstance(outcome.failure, StorageError)
    assert str(outcome.failure).startswith(f"learner 1 cannot write to {folder.path}: ")
    assert outcome.status.restarts == [0, 0, 0]
    saved = newest(folder)
    assert saved.learners() == [0, 2], "the others leave their last state"
    assert children() == []


class FillingDisk(io.StringIO):
    """A terminal; once something is written there, the disk is full for one file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def write(self, text: str) -> int:
        if not self.file.is_symlink():
            self.file.symlink_to("/dev/full")
        return super().write(text)


def test_a_summary_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(replace(CONFIG, steps=600, out=str(run)))
    (run / "summary.json").unlink()
    # A link that is there before would be refused.
    terminal = FillingDisk(run / "summary.json.partial")
    with pytest.raises(StorageError, match=r"summary.json cannot be written \(No space left"):
        resume(run, steps=1200, console=Console(file=terminal))


class Deleting(io.StringIO):
    """A terminal; what is written there once the run has a checkpoint deletes its folder."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.run = run

    def write(self, text: str) -> int:
        if any(self.run.glob("checkpoints/step_*")):
            shutil.rmtree(self.run, ignore_errors=True)
        return super().write(text)


@pytest.mark.parametrize("serial", [False, True])
def test_a_folder_that_is_deleted_ends_its_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serial: bool
) -> None:
    monkeypatch.setattr("gala_rl.app.progress._PLAIN_LINE_EVERY_S", 0.2)
    run = tmp_path / "run"
    config = replace(CONFIG, steps=10**9, checkpoint_every=0.2, serial=serial, out=str(run))
    with pytest.raises(StorageError, match=f"{run}.*No such file or directory") as failure:
        train(config, Console(file=Deleting(run)))
    assert "go on" not in str(failure.value)
    assert "make room" not in str(failure.value)
    assert children() == []
