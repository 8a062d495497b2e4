"""A training in processes of its own, as a user starts it, to be disturbed and looked at."""

import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import psutil

from gala_rl.records.run_folder import RunFolder

Process: TypeAlias = "subprocess.Popen[bytes]"
STOP_S = 120.0
_START_S = 180.0
_LOOK_S = 0.05


def start(method: str, settings: Mapping[str, Any]) -> Process:
    """`gala train` with these options, silent."""
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return _gala("train", method, *words)


def resume(run: RunFolder, steps: int) -> Process:
    """`gala resume` to another total, silent."""
    return _gala("resume", str(run.path), "--steps", str(steps))


def wait_for_first_row(training: Process, run: RunFolder) -> None:
    """Until the first learner has written metrics.

    Raises:
        RuntimeError: when the training ends, or has none for minutes.
    """
    first, give_up = run.metrics_file(0), time.monotonic() + _START_S
    while not (first.is_file() and first.stat().st_size):
        check_goes_on(training)
        if time.monotonic() > give_up:
            raise RuntimeError(f"no metrics of {run.path} within {_START_S:.0f} s")
        time.sleep(_LOOK_S)


def check_goes_on(training: Process) -> None:
    """Raises RuntimeError when the training has ended by itself."""
    if training.poll() is not None:
        raise RuntimeError(f"training ended by itself with code {training.returncode}")


def family(training: Process) -> list[psutil.Process]:
    """The supervisor, first, and all processes that came of it."""
    supervisor = psutil.Process(training.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def _gala(*words: str) -> Process:
    command = [sys.executable, "-m", "gala_rl.cli", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
