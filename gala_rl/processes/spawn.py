"""Starts processes: no interrupts, threads that wait asleep, no orphans.

One that is spawned begins with nothing and imports what it needs, which takes seconds. One that is
forked by a server, which did nothing but import, is there at once, and shares with its like the
memory of what was imported.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_SENT_TO_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_JOIN_S = 10.0
_SERVES = "GALA_RL_SERVES"
"""Environment of a server, and of nobody else: the process that it forks for."""

LONGEST_PLACE_OF_SOCKETS = 103 - len("/pymp-12345678/listener-12345678")
"""Bytes of a path in which the shortest of the systems' limits leaves room for Python's names."""

_LOOKED_AT_ONCE = (
    *("GLIBC_", "GOMP_", "KMP_", "LD_", "MALLOC_", "MKL_"),
    *("OMP_", "OPENBLAS_", "PYTORCH_", "TORCH_"),
)
"""Beginnings of variables that libraries look at when they are loaded, and then no more."""

_Argument = TypeVar("_Argument")

_Start = tuple[Callable[[], BaseProcess], set[int], "Future[BaseProcess]"]

_killers: dict[BaseProcess, Finalize] = {}
_starters: dict[int, "SimpleQueue[_Start]"] = {}
"""What the starting thread of a process waits for, by process id."""
_starters_lock = threading.Lock()
_environment_of_server: dict[str, dict[str, str]] = {}


def spawn(work: Callable[[_Argument], None], argument: _Argument, name: str) -> BaseProcess:
    """Start a new process that does the work; it ends with this one.

    Args:
        work: a function of a module; calls `die_with` first of all.
        argument: handed to it.
        name: of the process.

    Raises:
        OSError: when the system refuses it.
    """
    return _in_starter(lambda: _start(_spawned(work, argument, name)))


def fork_ready(
    work: Callable[[_Argument], None], argument: _Argument, name: str, imports: str
) -> BaseProcess:
    """Start a process like one of `spawn`, with a module imported from the start.

    It is spawned where a server cannot fork it: there are none on this system, their sockets'
    names would be too long, what libraries find in the environment has changed since they were
    loaded there, the argument has too many descriptors, or the server or its socket is gone.

    Args:
        work: a function of a module; calls `end_with_parent` first of all.
        argument: handed to it.
        name: of the process.
        imports: the module; it calls `serve` when it is imported.

    Raises:
        OSError: when the system refuses it.
    """

    def begin() -> BaseProcess:
        wanted = {k: v for k, v in os.environ.items() if k.startswith(_LOOKED_AT_ONCE)}
        if _can_serve() and _environment_of_server.setdefault(imports, wanted) == wanted:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([imports])
            # The server has the environment and the cores of its own start.
            arguments = work, argument, dict(os.environ), _cores()
            served = context.Process(target=_begin, args=arguments, name=name)
            # A mistake in the argument itself is raised again below.
            with (
                suppress(ValueError, EOFError, OSError),
                _environment(**{_SERVES: str(os.getpid())}),
            ):
                return _start(served)
        return _start(_spawned(work, argument, name))

    return _in_starter(begin)


def _spawned(work: Callable[[_Argument], None], argument: _Argument, name: str) -> BaseProcess:
    # `spawn`: a forked child would inherit half a thread pool.
    return multiprocessing.get_context("spawn").Process(target=work, args=(argument,), name=name)


def _in_starter(begin: Callable[[], BaseProcess]) -> BaseProcess:
    """Return what a call returns in the one thread that starts all children of this process.

    The kernel ends a child with the *thread* that started it, so that thread has to live as long
    as the process. And what a start changes in the process, two threads of a program that both
    train never change at the same time. The child has the cores of the thread that asks for it.
    """
    future: Future[BaseProcess] = Future()
    with _undisturbed():
        _starter(os.getpid()).put((begin, _cores(), future))
        return future.result()


def _starter(pid: int) -> "SimpleQueue[_Start]":
    with _starters_lock:
        if pid not in _starters:  # A forked process has the table, but not the thread.
            _starters[pid] = SimpleQueue()
            threading.Thread(target=_start_all, args=(_starters[pid],), daemon=True).start()
        return _starters[pid]


def _start_all(starts: "SimpleQueue[_Start]") -> None:
    """Start what is asked for, as long as this process lives."""
    while True:
        begin, cores, future = starts.get()
        try:
            _keep_to(cores)
            future.set_result(begin())
        except BaseException as error:
            future.set_exception(error)
        del begin, future


def _can_serve() -> bool:
    has_servers = "forkserver" in multiprocessing.get_all_start_methods()
    return has_servers and len(os.fsencode(tempfile.gettempdir())) <= LONGEST_PLACE_OF_SOCKETS


def serve() -> None:
    """Have the kernel end this process with the one that it forks for, if it does."""
    is_server = os.environ.get(_SERVES) == str(os.getppid())
    if is_server and sys.platform == "linux":
        _die_with_whoever_forked()


def end(process: BaseProcess) -> bool:
    """Kill a process, with what it started in its group, and let go of it; False if it lives on."""
    assert process.pid is not None, "it was started"
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join(_JOIN_S)
    if process.exitcode is None:
        return False
    release(process)
    return True


def release(process: BaseProcess) -> None:
    """Let go of a process that has ended: its descriptors are closed with the last who knows it."""
    if (killer := _killers.pop(process, None)) is not None:
        killer.cancel()


def die_with(parent: int) -> None:
    """Have the kernel end this process with its parent; elsewhere it has to look for itself.

    Args:
        parent: process id of who started it.
    """
    _begin_life()
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")


def end_with_parent() -> None:
    """Have this process end with the one that started it, even if a server has forked it."""
    _begin_life()
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_die_after, args=(parent.sentinel,), daemon=True).start()


def _die_after(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def _begin_life() -> None:
    # Whoever started this process decides what a terminal's or a batch system's signal means here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Not SIG_IGN: games which a simulator starts, and ends with a signal, would ignore it too.
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SENT_TO_ALL)
    if sys.platform == "linux":
        # As `top` and the like tell it.
        name = multiprocessing.current_process().name.encode()
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name)
        _die_with_whoever_forked()


def _die_with_whoever_forked() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _cores() -> set[int]:
    """Those that this process may use; none where the system does not tell."""
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


def _keep_to(cores: set[int]) -> None:
    """Have this thread, and what it starts, use no other cores."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, cores)


def _begin(
    work: Callable[[_Argument], None],
    argument: _Argument,
    environment: dict[str, str],
    cores: set[int],
) -> None:
    """In a process that was forked: become like one that was spawned."""
    os.environ.clear()
    os.environ.update(environment)
    _keep_to(cores)
    # Or all processes would draw the same numbers; Python's own generator sees to it itself.
    np.random.seed()  # noqa: NPY002
    work(argument)


def _start(process: BaseProcess) -> BaseProcess:
    # Waiting threads of PyTorch sleep. By default they spin, as fast on an idle machine; on a busy
    # one they take the cores from those that they wait for, and an update on two threads can take
    # twenty times as long.
    patience = {} if "OMP_WAIT_POLICY" in os.environ else {"OMP_WAIT_POLICY": "passive"}
    # Or else it would be started below, and let all signals through.
    resource_tracker.ensure_running()
    # What is sent to all of a group waits in this thread, and in a child until `_begin_life`.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SENT_TO_ALL)
    with _environment(**patience), _without_a_program_that_is_no_file():
        process.start()
    # What a daemon is for, without being one: daemons may not have children of their own.
    _killers[process] = Finalize(None, process.kill, exitpriority=0)
    return process


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What is sent to all of a group waits until a process has been started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SENT_TO_ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Variables that a process started here has in its environment, and this one has not after."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)


@contextmanager
def _without_a_program_that_is_no_file() -> Iterator[None]:
    """Have a child not import a main program that came from standard input: it could not."""
    main = vars(sys.modules["__main__"])
    path = main.get("__file__")
    if path is None or Path(path).is_file():
        yield
        return
    del main["__file__"]
    try:
        yield
    finally:
        main["__file__"] = path
