"""What processes of these tests do; imports no PyTorch, so that spawned ones start fast."""

import ctypes
import os
import subprocess
import sys
import time
from ctypes import Array, c_longlong
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import psutil

from gala_rl.processes.heartbeat import beat, set_heartbeat
from gala_rl.processes.spawn import end_with_parent, release, start_process

GIVE_UP_S = 60.0
LIGHT_SERVER = "tests.processes.fork_server"
Heartbeat = Array[c_longlong]
"""One integer in shared memory."""


def start_forked(out: Path) -> BaseProcess:
    """Start a process that sleeps, forked by a light server if a server may fork it."""
    return start_process(sleep, out, "gala-learner-0", LIGHT_SERVER)


def end(process: BaseProcess) -> int | None:
    """Wait for a process; return its exit code."""
    process.join(GIVE_UP_S)
    exitcode = process.exitcode
    release(process)
    return exitcode


def is_spawned(process: BaseProcess) -> bool:
    """Return whether a process is a child of this one, not of a server; kill it."""
    parent = psutil.Process(process.pid).parent()
    process.kill()
    assert end(process) == -9
    return parent == psutil.Process()


def tell(out: Path) -> None:
    """Write what the process finds into a file named by its id."""
    end_with_parent()
    draws = np.random.random_sample(2)  # noqa: NPY002
    process = psutil.Process()
    found = [os.environ.get("CALLED"), process.name(), process.cpu_affinity(), *draws]
    out.joinpath(str(os.getpid())).write_text("|".join(map(str, found)))


def sleep(out: Path) -> None:
    """Show that the process is there, and do nothing."""
    end_with_parent()
    out.joinpath(f"asleep-{os.getpid()}").touch()
    time.sleep(600)


def leave_in_c(out: Path) -> None:
    """End without a word to Python."""
    ctypes.CDLL(None)._exit(7)


def count_open(ends: list[Connection]) -> None:
    """End with the number of connections that are open."""
    end_with_parent()
    sys.exit(sum(os.fstat(end.fileno()).st_ino > 0 for end in ends) % 256)


def supervise(out: Path) -> None:
    """Start a learner, and wait to be killed."""
    start_forked(out)
    time.sleep(600)


def step(heartbeat: Heartbeat) -> None:
    """Make a step every hundredth of a second."""
    end_with_parent(leads_group=True)
    set_heartbeat(np.frombuffer(memoryview(heartbeat), np.int64))
    while True:
        time.sleep(0.01)
        beat()


def hang(heartbeat: Heartbeat) -> None:
    """Make a first step, and no other."""
    end_with_parent(leads_group=True)
    set_heartbeat(np.frombuffer(memoryview(heartbeat), np.int64))
    time.sleep(600)


def leave(heartbeat: Heartbeat) -> None:
    """End at once."""
    os._exit(7)


def play(out: Path) -> None:
    """Start another program, as simulators do, and work on."""
    end_with_parent(leads_group=True)
    game = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    file = out / "game"
    file.with_suffix(".new").write_text(str(game.pid))
    file.with_suffix(".new").rename(file)
    time.sleep(600)
