"""`gala train --resume` after a hard kill, whenever that was: the same command goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gala_lab.main import main
from gala_rl.app import restart
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods.resolving import resolve
from gala_rl.records.files import read_json
from gala_rl.records.run_folder import RunFolder
from tests.support.run_folders import fake_run, tree
from tests.support.run_processes import ROOT, survivors

CONFIG = resolve(
    TrainConfig(
        method="a2c",
        env="CartPole-v1",
        serial=True,
        steps=200,
        simulators=2,
        out="run",
        device="cpu",
    )
)
COMMAND = ["train", "a2c", "--env", "CartPole-v1", "--serial", "--steps", "200", "--simulators"]
COMMAND += ["2", "--out", "run", "--resume", "--device", "cpu"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    return RunFolder(Path("run"))


def test_whether_a_run_is_started_needs_its_folder(here: RunFolder) -> None:
    with pytest.raises(UserError, match="--out"):
        restart.is_started(replace(CONFIG, out=None))
    assert not restart.is_started(CONFIG)
    here.create(CONFIG)
    assert restart.is_started(CONFIG)


def test_a_folder_of_somebody_elses_is_no_started_run(here: RunFolder) -> None:
    here.path.mkdir()
    assert not restart.is_started(CONFIG)
    (here.path / "logs").mkdir()
    assert restart.is_started(CONFIG), "a run was killed while its folder was made"
    (here.path / "thesis.txt").touch()
    assert not restart.is_started(CONFIG)


@pytest.mark.parametrize("left", ["nothing", "folders", "config", "damaged checkpoint"])
def test_a_run_without_a_whole_checkpoint_starts_anew_and_keeps_what_was_there(
    left: str, here: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    if left == "folders":
        here.metrics_file(0).parent.mkdir(parents=True)
    elif left != "nothing":
        here.create(CONFIG)
        here.metrics_file(0).write_text("{}\n", encoding="utf-8")
    if left == "damaged checkpoint":
        (here.checkpoints / "step_000000000100").mkdir()
    before = tree(here.path)
    assert main(COMMAND) == 0
    printed = capsys.readouterr().out
    if left == "nothing":
        assert not here.earlier.exists()
    else:
        assert "no whole checkpoint in run: it starts anew; what was there is in run/" in printed
        assert tree(here.earlier / "1") == before
    assert read_json(here.summary_file)["agent_steps"] == 200


def test_a_run_that_starts_anew_has_the_settings_that_it_had(here: RunFolder) -> None:
    Path("edges.json").write_text("[[0, 1], [1, 0]]", encoding="utf-8")
    arguments = ["train", "gala-a2c", "--env", "CartPole-v1", "--serial", "--steps", "200"]
    arguments += ["--learners", "2", "--simulators", "2", "--seed", "5", "--topology", "edges.json"]
    assert main([*arguments, "--out", "run"]) == 0
    first = read_json(here.config_file)["config"]
    shutil.rmtree(here.checkpoints)
    Path("edges.json").unlink()
    for attempt in range(1, 3):
        assert main(["train", "gala-a2c", "--out", "run", "--resume"]) == 0
        again = read_json(here.config_file)["config"]
        assert here.topology_file.read_text(encoding="utf-8") == "[[0, 1], [1, 0]]"
        for config in (first, again):
            config.pop("gossip", None)
        assert again == first
        assert (here.earlier / str(attempt) / "summary.json").is_file()
        shutil.rmtree(here.checkpoints)


def test_a_run_that_is_being_trained_is_not_moved(
    here: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_run(here.path, agent_steps=None)
    with here.lock():
        before = tree(here.path)
        assert main(["train", "gala-a2c", "--out", "run", "--resume"]) == 2
        assert tree(here.path) == before
    assert "is being trained by another process" in capsys.readouterr().err


def kill_after(seconds: float) -> None:
    """Run the command and kill all of its processes, as a machine that is switched off does."""
    command = ["train", "gala-a2c", "--env", "CartPole-v1", "--learners", "2", "--simulators", "2"]
    command += ["--steps", "1G", "--out", "run", "--resume"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gala_lab.main", *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    assert process.poll() is None, "it goes on, whatever the kill before has left"
    family = psutil.Process(process.pid).children(recursive=True)
    for pid in (process.pid, *(child.pid for child in family)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert survivors(family) == []


@pytest.mark.slow
def test_the_same_command_goes_on_after_a_kill_at_any_time(here: RunFolder) -> None:
    for seconds in (1.0, 5.0, 2.0, 3.0, 1.0, 30.0, 5.0, 1.0, 8.0, 30.0):
        kill_after(seconds)
    assert here.checkpointed_agent_steps() is not None
