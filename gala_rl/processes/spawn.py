"""Starts processes: nothing inherited, no interrupts, threads that wait asleep, no orphans."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import TypeVar

_PR_SET_PDEATHSIG = 1

_Argument = TypeVar("_Argument")

_killers: dict[BaseProcess, Finalize] = {}


def spawn(work: Callable[[_Argument], None], argument: _Argument, name: str) -> BaseProcess:
    """A new process that does the work; it ends with this one.

    Args:
        work: a function of a module; calls `die_with` first of all.
        argument: handed to it.
        name: of the process.
    """
    # `spawn`: a forked child would inherit half a thread pool.
    process = multiprocessing.get_context("spawn").Process(target=work, args=(argument,), name=name)
    with _no_interrupts(), _patient_threads():
        process.start()
    # What a daemon is for, without being one: daemons may not have children of their own.
    _killers[process] = Finalize(None, process.kill, exitpriority=0)
    return process


def release(process: BaseProcess) -> None:
    """Let go of a process that has ended, where many may follow: a descriptor stays open if not."""
    _killers.pop(process).cancel()
    process.close()


def die_with(parent: int) -> None:
    """Have the kernel end this process with its parent; elsewhere it has to look for itself.

    Args:
        parent: process id of who started it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """A SIGINT from the terminal goes to the whole group: children must never see it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _patient_threads() -> Iterator[None]:
    """Threads of PyTorch in processes started here sleep while they wait for one another.

    By default they spin, as fast on an idle machine; on a busy one they take the cores from those
    that they wait for, and an update on two threads can take twenty times as long.
    """
    name = "OMP_WAIT_POLICY"
    if name in os.environ:
        yield
        return
    os.environ[name] = "passive"
    try:
        yield
    finally:
        del os.environ[name]
