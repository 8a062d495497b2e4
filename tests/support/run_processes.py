"""Helpers for tests with real processes: a run to disturb, and who is alive."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch

from gala_rl.agent import initial_parameters_of
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.local import LocalRun

ROOT = Path(__file__).parents[2]
GIVE_UP_S = 120.0
CONFIG = resolve(
    TrainConfig(
        method="gala-a2c",
        env="tests.environments:Drifting-v0",
        learners=3,
        simulators=2,
        steps=10**12,
        log_every=20,
    )
)
"""A run that goes on until something stops it."""


def make_local_run(
    config: ResolvedConfig, folder: RunFolder, start: Checkpoint | None = None
) -> LocalRun:
    """Return a run whose learners have been started; make its folder if there is none."""
    if not folder.exists:
        folder.create(config)
    return LocalRun(config, folder, torch.device("cpu"), initial_parameters_of(config), start)


def pid_of(system: LocalRun, rank: int) -> int:
    """Process id of a learner as it is now."""
    return system.process_ids[rank]


def send_to(system: LocalRun, rank: int, number: signal.Signals) -> int:
    """Send a learner's process a signal; returns its id."""
    pid = pid_of(system, rank)
    os.kill(pid, number)
    return pid


def make_silent(system: LocalRun, rank: int) -> None:
    """Have the supervisor believe that a learner, which is stopped, has been silent for long."""
    system._learners._learners[rank].process.silence.silent_s = 10.0**6


def children() -> list[psutil.Process]:
    """Learners, actors and simulators of this process that are still there."""
    family = psutil.Process().children(recursive=True)
    return [p for p in family if p.name().startswith("gala-")]


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)


def start_command(
    path: Path,
    method: str = "gala-a2c",
    stderr: int = subprocess.DEVNULL,
    env: str = CONFIG.env,
    options: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """A run that would last for ever, in a session of its own, until all learners work."""
    arguments = ["train", method, "--env", env, "--learners", "2", "--simulators", "2", *options]
    arguments += ["--steps", "1G", "--log-every", "5", "--checkpoint-every", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gala_lab.main", *arguments, "--out", str(path)],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    folder = RunFolder(path)
    wait_until(lambda: all(folder.metrics_file(r).is_file() for r in range(2)))
    wait_until(lambda: all(folder.metrics_file(r).stat().st_size > 0 for r in range(2)))
    return process


def learners_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Everything that a command has started."""
    return psutil.Process(process.pid).children(recursive=True)


def survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are still there after a generous while."""
    _gone, alive = psutil.wait_procs(processes, timeout=GIVE_UP_S)
    return alive
