"""Supervised processes that work, die, stop, hang, do not close, or cannot be started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ctypes import c_longlong
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

import psutil
import pytest

from gala_rl.processes import spawn, supervised
from gala_rl.processes.supervised import RestartBudget, SilenceTimer, SupervisedProcess, end_all
from tests.processes.work import (
    GIVE_UP_S,
    LIGHT_SERVER,
    Heartbeat,
    hang,
    leave,
    play,
    step,
)
from tests.support.open_files import open_files

IMPORTS = "gala_rl.run.fork_server"
HOW = pytest.mark.parametrize("imports", [None, IMPORTS], ids=["spawned", "forked"])


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def heartbeat() -> Heartbeat:
    return RawArray(c_longlong, 1)


@pytest.fixture
def started() -> Iterator[Callable[..., SupervisedProcess]]:
    processes: list[SupervisedProcess] = []

    def start(work: Callable[[Any], None], argument: Any, **options: Any) -> SupervisedProcess:
        processes.append(SupervisedProcess(work, argument, "gala-test", **options))
        return processes[-1]

    yield start
    assert end_all(processes)


Started = Callable[..., SupervisedProcess]


@HOW
def test_a_process_is_killed_and_nothing_stays_open(
    heartbeat: Heartbeat, imports: str | None
) -> None:
    def run_briefly() -> None:
        process = SupervisedProcess(step, heartbeat, "gala-test", imports=imports)
        assert psutil.pid_exists(process.pid)
        assert process.kill()
        assert process.exitcode not in (0, None)
        wait_for(lambda: not psutil.pid_exists(process.pid))
        assert process.kill(), "it may be called again"

    run_briefly()
    before = open_files()
    run_briefly()
    assert open_files() == before
    assert not spawn._killers


def test_a_working_process_is_not_hung_and_a_stopped_one_is(
    heartbeat: Heartbeat, started: Started
) -> None:
    process = started(step, heartbeat, timeout_s=1.0)
    wait_for(lambda: bool(heartbeat[0]))
    give_up = time.monotonic() + 2.0
    while time.monotonic() < give_up:
        assert not process.is_hung(int(heartbeat[0]))
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    while not process.is_hung(int(heartbeat[0])):
        time.sleep(0.05)
        assert time.monotonic() < stopped_at + GIVE_UP_S
    assert time.monotonic() - stopped_at > 0.9
    assert process.kill(), "stopped processes can be killed"


def test_a_process_that_makes_no_step_is_hung(heartbeat: Heartbeat, started: Started) -> None:
    process = started(hang, heartbeat, timeout_s=0.5)
    wait_for(lambda: process.is_hung(int(heartbeat[0])))
    assert process.exitcode is None


def test_a_supervisor_that_was_stopped_too_finds_no_process_hung(
    heartbeat: Heartbeat, started: Started
) -> None:
    process = started(step, heartbeat, timeout_s=1.0)
    wait_for(lambda: bool(heartbeat[0]))
    process.is_hung(int(heartbeat[0]))
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(1.3)
    assert not process.is_hung(int(heartbeat[0])), "as if this process had been stopped"
    os.kill(process.pid, signal.SIGCONT)
    for _ in range(25):
        time.sleep(0.05)
        assert not process.is_hung(int(heartbeat[0]))


def test_a_process_that_ignores_everything_else_is_killed_after_its_grace(
    heartbeat: Heartbeat, started: Started
) -> None:
    process = started(hang, heartbeat)
    wait_for(lambda: bool(heartbeat[0]))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid, number)
    start = time.monotonic()
    assert end_all([process], grace_s=0.5)
    assert time.monotonic() - start > 0.4
    assert process.exitcode == -signal.SIGKILL


@HOW
def test_a_process_that_ends_by_itself_keeps_its_exit_code(
    heartbeat: Heartbeat, started: Started, imports: str | None
) -> None:
    processes = [started(leave, heartbeat, imports=imports) for _ in range(2)]
    assert end_all(processes, grace_s=GIVE_UP_S)
    assert [process.exitcode for process in processes] == [7, 7]


def test_one_that_cannot_be_killed_is_reported_and_the_others_are_killed(
    heartbeat: Heartbeat, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = started(step, heartbeat), started(step, heartbeat)
    with monkeypatch.context() as patch:
        # As when the kernel waits for a device.
        patch.setattr(supervised, "_JOIN_S", 0.2)
        patch.setattr(stuck, "_send_kill", lambda: None)
        assert not end_all([stuck, other])
        assert not stuck.kill()
    assert stuck.exitcode is None
    assert other.exitcode == -signal.SIGKILL


def test_the_programs_that_a_process_has_started_end_with_its_group(
    tmp_path: Path, started: Started
) -> None:
    process = started(play, tmp_path, leads_group=True)
    wait_for((tmp_path / "game").exists)
    game = psutil.Process(int((tmp_path / "game").read_text()))
    assert process.kill()
    wait_for(lambda: not game.is_running() or game.status() == psutil.STATUS_ZOMBIE)


def test_a_system_that_refuses_processes_raises(
    heartbeat: Heartbeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    with pytest.raises(OSError, match="Resource temporarily unavailable"):
        SupervisedProcess(step, heartbeat, "gala-test")


ORPHAN = """
import os, sys, time
from pathlib import Path
from gala_rl.processes.supervised import SupervisedProcess
from tests.processes.work import play
process = SupervisedProcess(play, Path(sys.argv[1]), "gala-test", imports=sys.argv[2] or None)
print(process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("imports", [None, LIGHT_SERVER], ids=["spawned", "forked"])
def test_a_process_does_not_outlive_its_supervisor(tmp_path: Path, imports: str | None) -> None:
    command = [sys.executable, "-c", ORPHAN, str(tmp_path), imports or ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = psutil.Process(int(supervisor.stdout.readline()))
        wait_for((tmp_path / "game").exists)
        supervisor.kill()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    os.kill(int((tmp_path / "game").read_text()), signal.SIGKILL)


def test_silence_is_counted_between_checks_up_to_a_maximum() -> None:
    timer = SilenceTimer(max_interval_s=3.0)
    assert timer.check(5) == 0.0
    timer._checked_at -= 2.0
    assert timer.check(5) == pytest.approx(2.0, abs=0.5)
    timer._checked_at -= 1000.0
    assert timer.check(5) == pytest.approx(5.0, abs=0.5)
    assert timer.check(6) == 0.0
    timer._checked_at -= 2.0
    timer.check(6)
    timer.restart()
    assert timer.silent_s == 0.0


def test_deaths_are_forgiven_after_progress_alone() -> None:
    budget = RestartBudget(max_restarts=2, progress=100)
    is_spent = []
    for progress in (0, 99, 100, 0, 99, 500):
        budget.count_death(progress)
        is_spent.append(budget.is_spent)
    assert is_spent == [False, False, False, False, True, False]
    assert (budget.deaths, budget.deaths_in_a_row) == (6, 1)
