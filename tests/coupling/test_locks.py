"""Locks exclude other processes, wait no longer than they may, and don't outlive their holder."""

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from gala_rl.coupling.locks import FileLocks

GIVE_UP_S = 60.0
# New processes begin with PyTorch in them, and at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.coupling.test_parameters"])


def hold_for_ever(path: Path, number: int, holds: Event) -> None:
    with FileLocks(path, GIVE_UP_S).acquire(number):
        holds.set()
        time.sleep(GIVE_UP_S)


def count_up(path: Path, counter: Path, times: int) -> None:
    """Read, wait, write: increments are lost unless one at a time does it."""
    locks = FileLocks(path, GIVE_UP_S)
    for _ in range(times):
        with locks.acquire(2):
            value = int(counter.read_text(encoding="utf-8"))
            time.sleep(0.001)
            counter.write_text(str(value + 1), encoding="utf-8")


def test_one_at_a_time(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0", encoding="utf-8")
    arguments = (tmp_path / "locks", counter, 50)
    processes = [PROCESSES.Process(target=count_up, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(GIVE_UP_S)
        assert process.exitcode == 0
    assert int(counter.read_text(encoding="utf-8")) == 150


def test_a_lock_is_waited_for_until_the_deadline_and_free_when_its_holder_is_killed(
    tmp_path: Path,
) -> None:
    path, holds = tmp_path / "locks", PROCESSES.Event()
    holder = PROCESSES.Process(target=hold_for_ever, args=(path, 1, holds), daemon=True)
    holder.start()
    assert holds.wait(GIVE_UP_S)
    locks = FileLocks(path, 0.05)
    with locks.acquire(0), locks.acquire(2):
        pass
    with pytest.raises(TimeoutError, match=r"held lock 1 of .* for 0\.05 s"), locks.acquire(1):
        pass
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with locks.acquire(1):
        pass
    locks.close()
    assert path.stat().st_size == 0
