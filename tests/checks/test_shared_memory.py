"""Shared memory of a container: what a run needs is known, and it is refused where it lacks."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from gala_lab.main import main
from gala_rl.checks import shared_memory
from gala_rl.checks.shared_memory import check_shared_memory, shared_bytes
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records.files import read_json
from tests.support.run_processes import CONFIG, ROOT

LARGE = replace(CONFIG, learners=2, simulators=4, lstm_size=256, log_every=5)

MEASURE = """
import os, sys
from pathlib import Path
from gala_rl.agent import initial_parameters_of
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder
from gala_rl.checks.shared_memory import shared_bytes
from tests.support.run_processes import make_local_run
from tests.checks.test_shared_memory import LARGE

same = ("env", "steps", "learners", "simulators", "lstm_size", "log_every")
config = resolve(TrainConfig(method=sys.argv[1], **{name: getattr(LARGE, name) for name in same}))
folder = RunFolder(Path(sys.argv[2]))
system = make_local_run(config, folder)

def observe(status):
    if all(updates > 20 for updates in status.updates):
        system.stop()

assert system.run(observe).failure is None
at = os.statvfs("/dev/shm")
needed = shared_bytes(config, initial_parameters_of(config).parameters.numel())
print((at.f_blocks - at.f_bfree) * at.f_frsize, needed)
"""


def in_a_container(mebibytes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command with so much shared memory, as Docker gives it."""
    mount = f"mount -t tmpfs -o size={mebibytes}m tmpfs /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], check=False).returncode:
        pytest.skip("memory of its own can only be mounted with the rights to do so")
    command = f'{mount} && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def train_arguments(out: Path) -> list[str]:
    arguments = ["train", "gala-a2c", "--env", CONFIG.env, "--learners", "2"]
    arguments += ["--simulators", "2", "--steps", "600", "--lstm-size", "256"]
    arguments += ["--max-learners", "3"]
    return [*arguments, "--out", str(out)]


@pytest.mark.parametrize(
    "method",
    [
        "gala-a2c",
        *(
            pytest.param(m, marks=pytest.mark.slow)
            for m in ("gala-impala", "gala-ppo", "a2c-async")
        ),
    ],
)
def test_a_run_takes_what_was_computed(method: str, tmp_path: Path) -> None:
    ended = in_a_container(64, "-c", MEASURE, method, str(tmp_path / "run"))
    assert ended.returncode == 0, ended.stderr
    used, needed = map(int, ended.stdout.split())
    assert needed - 2**20 <= used <= needed


def test_too_little_is_refused_in_one_line_and_as_much_as_that_line_says_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    small = SimpleNamespace(f_bavail=16, f_frsize=2**20)
    with monkeypatch.context() as patch:
        patch.setattr(shared_memory, "os", SimpleNamespace(statvfs=lambda at: small))
        assert main(train_arguments(run)) == 2
    assert not run.exists()
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1
    assert "MiB of shared memory, and /dev/shm has 16 free: use fewer by --learners" in refused
    said = int(refused.split("--shm-size ")[1].removesuffix("m\n"))
    ended = in_a_container(said, "-m", "gala_lab.main", *train_arguments(run))
    assert ended.returncode == 0, ended.stderr
    assert read_json(run / "summary.json")["restarts"] == 0


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any room: what is counted for a file system without blocks."""
    monkeypatch.setattr(shared_memory, "_MEMORY", Path("/proc"))


@pytest.mark.usefixtures("tiny")
def test_only_learners_in_processes_of_this_machine_need_any() -> None:
    with pytest.raises(UserError, match=r"room for 4 learners x 1,000 parameters takes 6 MiB"):
        check_shared_memory(LARGE, 1000)
    check_shared_memory(replace(LARGE, serial=True), 1000)
    check_shared_memory(replace(LARGE, cluster="auto"), 1000)


def test_where_there_is_no_such_place_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "_MEMORY", Path("/nowhere"))
    check_shared_memory(LARGE, 10**15)


def test_rollouts_of_actors_wait_in_it_too() -> None:
    pong = TrainConfig(method="impala", env="PongNoFrameskip-v4", simulators=16, steps=1000)
    config = resolve(pong)
    algorithm = config.algorithm
    assert isinstance(algorithm, ImpalaSettings)
    observations = 16 * algorithm.actor_slots * (algorithm.rollout_steps + 1) * 4 * 84 * 84
    assert 0 < shared_bytes(config, 1000) - observations < 2**21
