"""IMPALA and GALA-IMPALA as whole runs: faults of actors and learners, ends, resuming."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from gala_rl.agent import initial_parameters_of
from gala_rl.app.train import resume
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import LearnerFailure
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun
from gala_rl.run.serial import run_serial
from gala_rl.run.status import RunStatus
from tests.support.run_processes import (
    ROOT,
    children,
    make_local_run,
    pid_of,
    survivors,
    wait_until,
)
from tests.support.run_records import newest

CONFIG = resolve(
    TrainConfig(
        method="gala-impala",
        env="tests.environments:Drifting-v0",
        learners=2,
        simulators=4,
        steps=10**12,
        log_every=10,
        algorithm=ImpalaSettings(actors=1, rollout_steps=5),
    )
)
"""A run that goes on until something stops it."""


def actors_of(system: LocalRun, rank: int) -> list[psutil.Process]:
    return psutil.Process(pid_of(system, rank)).children()


def last_row(folder: RunFolder, rank: int) -> dict[str, Any]:
    rows = MetricsReader(folder.metrics_file(rank)).new_rows()
    return rows[-1] if rows else {}


class Script:
    """An observer: once learners work, an actor is killed; once that has shown, the end."""

    def __init__(self, system: LocalRun, folder: RunFolder) -> None:
        self.system, self.folder = system, folder
        self.victim: psutil.Process | None = None
        self.updates_then = 0

    def __call__(self, status: RunStatus) -> None:
        if min(status.updates) < 20:
            return
        if self.victim is None:
            self.victim = actors_of(self.system, 1)[0]
            self.victim.kill()
        elif last_row(self.folder, 1).get("actor_restarts"):
            self.updates_then = self.updates_then or status.updates[1]
            if status.updates[1] > self.updates_then + 20:
                self.system.stop()


@pytest.mark.slow
def test_a_lost_actor_costs_its_learner_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(CONFIG, folder)
    script = Script(system, folder)
    outcome = system.run(script)
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 0]
    assert script.victim is not None
    assert not script.victim.is_running()
    assert last_row(folder, 1)["actor_restarts"] == 1
    assert last_row(folder, 0)["actor_restarts"] == 0
    assert "actor 0 of learner 1 died" in folder.log_file(1).read_text(encoding="utf-8")
    for rank in range(2):
        row = last_row(folder, rank)
        assert row["mixes"] > 0
        assert 0.5 < row["clipped_rho"] <= 1.0


def test_a_killed_learner_takes_its_actors_along_and_comes_back_with_others(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(CONFIG, folder)
    before: list[psutil.Process] = []
    made: list[int] = []

    def observe(status: RunStatus) -> None:
        if min(status.updates) < 20:
            return
        if not before:
            before.extend(actors_of(system, 1))
            os.kill(pid_of(system, 1), signal.SIGKILL)
        elif status.restarts[1] and not made:
            made.append(status.updates[1])
        elif made and status.updates[1] > made[0] + 20:
            system.stop()

    outcome = system.run(observe)
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 1]
    assert len(before) == 1
    assert survivors(before) == []
    saved = newest(folder)
    assert saved.learners() == [0, 1]


def test_actors_that_keep_dying_end_the_run_with_the_reason(tmp_path: Path) -> None:
    config = resolve(
        replace(CONFIG, env="tests.environments:AlwaysFailing-v0", learners=1, max_restarts=0)
    )
    system = make_local_run(config, RunFolder(tmp_path / "run"))
    outcome = system.run(lambda status: None)
    assert isinstance(outcome.failure, LearnerFailure)
    text = str(outcome.failure)
    assert "learner 0 died" in text
    assert "actor" in text
    assert "the simulator broke" in text


@pytest.mark.slow
def test_nobody_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    run = _start_command(tmp_path / "run")
    family = psutil.Process(run.pid).children(recursive=True)
    assert sum(p.name().startswith("gala-") for p in family) == 2 + 2 * 1
    run.kill()
    run.wait()
    assert survivors(family) == []


def test_an_interrupt_ends_cleanly_and_the_run_goes_on_later(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    system = make_local_run(CONFIG, folder)
    family: list[psutil.Process] = []

    def observe(status: RunStatus) -> None:
        if not family and all(last_row(folder, rank) for rank in range(2)):
            family.extend(children())
            # A terminal sends it to all of the group.
            for process in (*family, psutil.Process()):
                process.send_signal(signal.SIGINT)

    outcome = system.run(observe)
    assert outcome.interrupted
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 0]
    assert outcome.killed == 0
    assert len(family) == 2 + 2 * 1
    assert survivors(family) == []
    check_that_it_goes_on(folder)


@pytest.mark.slow
def test_so_does_the_command_that_is_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = _start_command(path)
    family = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(120) == 130
    assert survivors(family) == []
    check_that_it_goes_on(RunFolder(path))


def check_that_it_goes_on(folder: RunFolder) -> None:
    steps = newest(folder).agent_steps
    summary = resume(folder.path, steps=steps + 1000)
    assert steps + 1000 <= summary["agent_steps"] < steps + 3000
    updates = [learner["updates"] for learner in summary["learners"]]
    assert sum(updates) * 20 == summary["agent_steps"]


def _start_command(path: Path) -> subprocess.Popen[bytes]:
    arguments = ["train", "gala-impala", "--env", CONFIG.env, "--learners", "2"]
    arguments += ["--simulators", "4", "--actors", "1", "--rollout-steps", "5"]
    arguments += ["--steps", "1G", "--log-every", "5", "--out", str(path)]
    run = subprocess.Popen(
        [sys.executable, "-m", "gala_lab.main", *arguments],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = RunFolder(path)
    wait_until(lambda: all(last_row(folder, rank) for rank in range(2)))
    return run


def serial_parameters(path: Path, config: ResolvedConfig) -> torch.Tensor:
    folder = RunFolder(path)
    folder.create(config)
    run_serial(
        config,
        folder,
        torch.device("cpu"),
        initial_parameters_of(config),
        None,
        lambda status: None,
    )
    saved = newest(folder)
    return torch.stack([saved.load(rank).tensors["parameters"] for rank in saved.learners()])


def test_one_gossiping_learner_is_plain_impala_bit_for_bit(tmp_path: Path) -> None:
    config = TrainConfig(
        env=CONFIG.env, learners=1, simulators=3, steps=1500, serial=True, method="gala-impala"
    )
    gossiping = serial_parameters(tmp_path / "gossiping", resolve(config))
    plain = serial_parameters(tmp_path / "plain", resolve(replace(config, method="impala")))
    several = serial_parameters(tmp_path / "several", resolve(replace(config, learners=2)))
    assert torch.equal(gossiping, plain)
    assert not torch.equal(several[0], several[1])
