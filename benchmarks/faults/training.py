"""A training in processes of its own, as a user starts it, to be disturbed and looked at."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import psutil

from gala_rl.records.run_folder import RunFolder

Process: TypeAlias = "subprocess.Popen[bytes]"
STOP_S = 120.0
_GALA = (sys.executable, "-m", "gala_lab.main")
_START_S = 180.0
_LOOK_S = 0.05


def start(method: str, settings: Mapping[str, Any], log: Path | None = None) -> Process:
    """`gala train` with these options, silent but for a file."""
    command = train_command(method, settings)
    if log is None:
        return run_silently(command)
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def train_command(method: str, settings: Mapping[str, Any]) -> list[str]:
    """`gala train` with these options."""
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [*_GALA, "train", method, *words]


def resume(run: RunFolder, steps: int) -> Process:
    """`gala resume` to another total, silent."""
    return run_silently([*_GALA, "resume", str(run.path), "--steps", str(steps)])


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


@contextmanager
def ended(training: Process) -> Iterator[None]:
    """A context after which the training has been asked to stop and has ended."""
    try:
        yield
    finally:
        training.send_signal(signal.SIGINT)
        training.wait(STOP_S)


def family(training: Process) -> list[psutil.Process]:
    """The supervisor, first, and all processes that came of it."""
    supervisor = psutil.Process(training.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def between(rows: Sequence[Mapping[str, Any]], begin: float, end: float) -> list[Mapping[str, Any]]:
    """Rows of metrics that were written between two times."""
    return [row for row in rows if begin <= row["time"] <= end]


def steps_per_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """Agent steps/s of a learner from its first to its last of these rows."""
    made = rows[-1]["agent_steps"] - rows[0]["agent_steps"]
    return float(made / (rows[-1]["time"] - rows[0]["time"]))


def run_silently(command: Sequence[str], **variables: str) -> Process:
    """Start a command with these environment variables beside those that there are."""
    quiet, environment = subprocess.DEVNULL, {**os.environ, **variables}
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment)
