"""Starts child processes that ignore interrupts, let idle threads sleep, and end with this one.

A spawned process imports what it needs, which takes seconds. A process that is forked by a server
that has done nothing but import starts at once, and shares the memory of the imported modules.
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
_SENT_TO_GROUPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SERVES = "GALA_RL_SERVES"
"""Environment variable of fork servers only: id of the process that the server forks for."""

MAX_SOCKET_FOLDER = 103 - len("/pymp-12345678/listener-12345678")
"""Longest path, in bytes, to which Python's names of sockets can be added on every system."""

_READ_ON_IMPORT = (
    *("GLIBC_", "GOMP_", "KMP_", "LD_", "MALLOC_", "MKL_"),
    *("OMP_", "OPENBLAS_", "PYTORCH_", "TORCH_"),
)
"""Prefixes of environment variables that libraries read when they are imported, and only then."""

_Argument = TypeVar("_Argument")

_Start = tuple[Callable[[], BaseProcess], set[int], "Future[BaseProcess]"]

_killers: dict[BaseProcess, Finalize] = {}
_starters: dict[int, "SimpleQueue[_Start]"] = {}
"""Requests to the starting thread of a process, by process id."""
_starters_lock = threading.Lock()
_environment_of_server: dict[str, dict[str, str]] = {}


def start_process(
    work: Callable[[_Argument], None], argument: _Argument, name: str, imports: str | None = None
) -> BaseProcess:
    """Start a process that calls `work(argument)`, and is killed when this process ends.

    With `imports` it is forked by a server that has imported that module. It is spawned instead if
    the system has no fork servers, if the names of their sockets would be too long, if variables
    that libraries read on import have changed since, if the argument has too many descriptors, or
    if the server or its socket is gone.

    Args:
        work: module-level function; calls `end_with_parent` first.
        argument: argument of `work`.
        name: name of the process.
        imports: module that calls `serve` when it is imported; None: spawn the process.

    Raises:
        OSError: if the system refuses to start a process.
    """

    def start() -> BaseProcess:
        forked = None if imports is None else _fork_from_server(work, argument, name, imports)
        if forked is not None:
            return forked
        # Not `fork`: the child would inherit half a thread pool.
        spawning = multiprocessing.get_context("spawn")
        return _start(spawning.Process(target=work, args=(argument,), name=name))

    future: Future[BaseProcess] = Future()
    with _signals_deferred():
        _starter(os.getpid()).put((start, _cores(), future))
        return future.result()


def _fork_from_server(
    work: Callable[[_Argument], None], argument: _Argument, name: str, imports: str
) -> BaseProcess | None:
    variables = {k: v for k, v in os.environ.items() if k.startswith(_READ_ON_IMPORT)}
    if not _can_serve() or _environment_of_server.setdefault(imports, variables) != variables:
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([imports])
    # The server has the environment and cores of the time when it was started.
    arguments = work, argument, dict(os.environ), _cores()
    process = context.Process(target=_run_forked, args=arguments, name=name)
    # An argument that cannot be pickled raises again when the process is spawned instead.
    with suppress(ValueError, EOFError, OSError), _environment(**{_SERVES: str(os.getpid())}):
        return _start(process)
    return None


def _starter(pid: int) -> "SimpleQueue[_Start]":
    """Return the queue of the one thread that starts all children of this process.

    The kernel kills a child when the *thread* that started it ends, so that thread has to live as
    long as the process. And a start changes the environment of the process, which must not happen
    in two threads at once. A child gets the CPU affinity of the thread that requested it.
    """
    with _starters_lock:
        if pid not in _starters:  # A forked process has the table, but not the thread.
            _starters[pid] = SimpleQueue()
            threading.Thread(target=_start_all, args=(_starters[pid],), daemon=True).start()
        return _starters[pid]


def _start_all(starts: "SimpleQueue[_Start]") -> None:
    """Start a process per request, until this process ends."""
    while True:
        start, cores, future = starts.get()
        try:
            _set_cores(cores)
            future.set_result(start())
        except BaseException as error:
            future.set_exception(error)
        del start, future


def _can_serve() -> bool:
    has_servers = "forkserver" in multiprocessing.get_all_start_methods()
    return has_servers and len(os.fsencode(tempfile.gettempdir())) <= MAX_SOCKET_FOLDER


def serve() -> None:
    """Make the kernel kill this process with its parent, if it is a fork server of the parent."""
    if os.environ.get(_SERVES) == str(os.getppid()):
        _end_with_parent_by_kernel()


def release(process: BaseProcess) -> None:
    """Forget a process that has ended; its descriptors are closed with the last reference."""
    if (killer := _killers.pop(process, None)) is not None:
        killer.cancel()


def end_with_parent(leads_group: bool = False) -> None:
    """Make this process end with the one that started it, and ignore signals from a terminal.

    Args:
        leads_group: whether to create a process group, which processes that this one starts, such
            as a simulator's game, then belong to.
    """
    if leads_group:
        os.setpgid(0, 0)
    # The parent also receives these signals of a terminal or batch system, and reacts to them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Not SIG_IGN: games that a simulator starts, and ends with a signal, would inherit it.
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SENT_TO_GROUPS)
    if sys.platform == "linux":
        # Shown by `top` and similar tools.
        name = multiprocessing.current_process().name.encode()
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name)
    _end_with_parent_by_kernel()
    parent = multiprocessing.parent_process()
    # The kernel kills children of the parent, not of its fork server, and only on Linux.
    if parent is not None and (sys.platform != "linux" or os.getppid() != parent.pid):
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def _end_with_parent_by_kernel() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _cores() -> set[int]:
    """Return the cores that this thread may use; an empty set if the system is not Linux."""
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


def _set_cores(cores: set[int]) -> None:
    """Restrict this thread, and the threads and processes it starts, to these cores."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, cores)


def _run_forked(
    work: Callable[[_Argument], None],
    argument: _Argument,
    environment: dict[str, str],
    cores: set[int],
) -> None:
    """Call `work(argument)` in a forked process, set up as a spawned one would be."""
    os.environ.clear()
    os.environ.update(environment)
    _set_cores(cores)
    # Otherwise all forked processes draw the same numbers; Python reseeds its own generator.
    np.random.seed()  # noqa: NPY002
    work(argument)


def _start(process: BaseProcess) -> BaseProcess:
    # Idle threads of PyTorch sleep. By default they spin, which is as fast on an idle machine; on a
    # busy one they take cores from the threads that they wait for, and an update on two threads can
    # take twenty times as long.
    policy = {} if "OMP_WAIT_POLICY" in os.environ else {"OMP_WAIT_POLICY": "passive"}
    # Otherwise `process.start` starts it, and some Python versions then unblock all signals.
    resource_tracker.ensure_running()
    # A child inherits the blocked signals; `end_with_parent` unblocks them in it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SENT_TO_GROUPS)
    with _environment(**policy), _main_program_hidden():
        process.start()
    # Kill it when this process exits. Not `daemon=True`: daemons may not have children.
    _killers[process] = Finalize(None, process.kill, exitpriority=0)
    return process


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Defer signals to the whole group until a process has been started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SENT_TO_GROUPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Add variables to the environment of a process that is started within the `with` block."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)


@contextmanager
def _main_program_hidden() -> Iterator[None]:
    """Hide a main program that came from standard input from a child, which cannot import it."""
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
