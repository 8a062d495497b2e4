"""The systems that are compared: each is run to its end or its deadline, no process is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.peers.work import Result, read_line

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OURS = "gala-a2c"
START_S = 180.0
"""Beside warm-up and window, a run may take this long to start and to stop."""


class RunFailure(Exception):
    """One run of one system gave no result; the message says why."""


@dataclass(frozen=True)
class System:
    """How to run one system.

    Attributes:
        name: in the table.
        command: without the options that all runners share.
        remedy: how to install it.
    """

    name: str
    command: tuple[str, ...]
    remedy: str = ""

    @property
    def installed(self) -> bool:
        """Whether its interpreter is there and its installation was finished."""
        python = Path(self.command[0])
        return not self.remedy or (python.parents[1] / ".installed").is_file()


@dataclass(frozen=True)
class Options:
    """How long and how often; of one comparison."""

    simulators: int
    seconds: float
    warm_up_seconds: float
    rounds: int
    ours: str = OURS

    @property
    def deadline(self) -> float:
        """Seconds after which a run hangs."""
        return START_S + self.warm_up_seconds + 2 * self.seconds


def _peer(name: str, environment: str, script: str) -> System:
    python = HERE / ".venvs" / environment / "bin" / "python"
    remedy = f"benchmarks/peers/install.sh {environment}"
    return System(name, (str(python), "-m", f"benchmarks.peers.{script}"), remedy)


def systems() -> dict[str, System]:
    """All systems by name; this package's own first."""
    own = (sys.executable, "-m", "benchmarks.peers.gala", "--method")
    known = (
        System(OURS, (*own, OURS)),
        System("a2c", (*own, "a2c")),
        _peer("sb3-a2c", "sb3", "sb3_a2c"),
        _peer("sample-factory-appo", "sample-factory", "sample_factory_appo"),
        _peer("torchrl-a2c", "torchrl", "torchrl_a2c"),
        _peer("rllib-impala", "rllib", "rllib_impala"),
        *(System(name, (*own, name)) for name in ("a2c-allreduce", "impala", "gala-ppo", "ppo")),
        _peer("sb3-ppo", "sb3", "sb3_ppo"),
    )
    return {system.name: system for system in known}


def run_once(system: System, options: Options) -> Result:
    """Run a system to its end, or to its deadline; no process of it is left.

    Raises:
        RunFailure: when it gave no result.
    """
    command = (
        *system.command,
        *("--simulators", str(options.simulators)),
        *("--seconds", str(options.seconds)),
        *("--warm-up-seconds", str(options.warm_up_seconds)),
    )
    try:
        return read_line(output_of(command, options.deadline))
    except ValueError as error:
        raise RunFailure(str(error)) from error


def output_of(command: Sequence[str], deadline: float) -> str:
    """Return what a command prints; no process of it is left.

    Args:
        command: program and arguments.
        deadline: seconds after which it hangs.

    Raises:
        RunFailure: when it hung or ended with another code than 0.
    """
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired:
            raise RunFailure(f"it hung: killed after {deadline:.0f} s") from None
        finally:
            kill_family(process.pid)
    if process.returncode != 0:
        last = errors.strip().splitlines()[-1:] or ["it said nothing"]
        raise RunFailure(f"it ended with code {process.returncode}: {last[0][:200]}")
    return output


def kill_family(pid: int) -> None:
    """Kill what is left of a session's leader, of its group and of its descendants."""
    try:
        # Some descendants are in groups of their own.
        descendants = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for process in descendants:
        with suppress(psutil.NoSuchProcess):
            process.kill()
