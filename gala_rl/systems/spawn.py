"""Starts learners' processes: nothing inherited, no interrupts, threads that wait asleep."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from gala_rl.systems.assignment import Assignment
from gala_rl.systems.worker import PROCESS_NAME, work


def start(assignment: Assignment) -> BaseProcess:
    """A new process that does the work; it ends with this one."""
    # `spawn`: a forked child would inherit half a thread pool.
    process = multiprocessing.get_context("spawn").Process(
        target=work, args=(assignment,), name=f"{PROCESS_NAME}{assignment.rank}", daemon=True
    )
    with _no_interrupts(), _patient_threads():
        process.start()
    return process


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
