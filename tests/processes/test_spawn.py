"""Processes that a server forks: there at once, and in no other way unlike spawned ones."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from gala_rl.processes.spawn import MAX_SOCKET_FOLDER, start_process
from tests.processes.work import (
    GIVE_UP_S,
    count_open,
    end,
    is_spawned,
    leave_in_c,
    sleep,
    supervise,
    tell,
)
from tests.support.open_files import open_files

IMPORTS = "gala_rl.run.fork_server"


def start(work: Callable[[Path], None], out: Path) -> BaseProcess:
    return start_process(work, out, "gala-learner-0", IMPORTS)


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)


def test_each_has_the_environment_and_cores_of_its_moment_a_name_and_randomness_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = os.sched_getaffinity(0)
    allowed = {"first": sorted(cores), "second": [min(cores)]}
    try:
        for name, those in allowed.items():
            monkeypatch.setenv("CALLED", name)
            os.sched_setaffinity(0, those)
            process = start(tell, tmp_path)
            assert end(process) == 0
    finally:
        os.sched_setaffinity(0, cores)
    told = sorted(file.read_text().split("|") for file in tmp_path.iterdir())
    expected = [[name, "gala-learner-0", str(those)] for name, those in allowed.items()]
    assert [words[:3] for words in told] == expected
    assert told[0][3:] != told[1][3:]


def test_what_libraries_read_only_once_is_not_that_of_an_older_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(sleep, tmp_path)
    served = psutil.Process(process.pid).parent()
    process.kill()
    assert end(process) == -signal.SIGKILL
    assert served != psutil.Process()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    process = start(sleep, tmp_path)
    wait_for(lambda: any(tmp_path.iterdir()))
    other = psutil.Process(process.pid)
    assert other.parent() == psutil.Process(), "it is spawned"
    assert other.environ()["OMP_NUM_THREADS"] == "7"
    process.kill()
    assert end(process) == -signal.SIGKILL


def test_without_a_server_that_may_fork_processes_are_spawned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_of_server(process: BaseProcess) -> None:
        raise EOFError("unexpected EOF")

    # As Python's servers end, for root too, whom no limit of processes binds.
    with monkeypatch.context() as patch:
        patch.setattr("multiprocessing.context.ForkServerProcess.start", end_of_server)
        assert is_spawned(start(sleep, tmp_path))
    assert not is_spawned(start(sleep, tmp_path))


def test_a_machine_that_lets_no_process_start_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: BaseProcess) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.ForkServerProcess.start", refuse)
    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    with pytest.raises(OSError, match="Resource temporarily unavailable"):
        start(sleep, tmp_path)


def test_an_argument_with_more_descriptors_than_a_server_takes_is_handed_over() -> None:
    ends = [end for _ in range(150) for end in multiprocessing.Pipe()]
    process = start_process(count_open, ends, "gala-learner-0", IMPORTS)
    assert end(process) == 300 % 256


ITS_SOCKET_IS_DELETED = """
import multiprocessing.forkserver as server, os, sys
from pathlib import Path
from tests.processes.work import is_spawned, start_forked
before = is_spawned(start_forked(Path(sys.argv[1])))
os.unlink(server._forkserver._forkserver_address)
print(before, is_spawned(start_forked(Path(sys.argv[1]))))
"""


def test_a_server_whose_socket_was_tidied_away_is_done_without(tmp_path: Path) -> None:
    assert in_a_program(ITS_SOCKET_IS_DELETED, tmp_path) == "False True"


def in_a_program(text: str, out: Path) -> str:
    """What a program of its own prints."""
    command = [sys.executable, "-c", text, str(out)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


IN_THREADS = """
import sys, threading, time
from pathlib import Path
from tests.processes.work import end, sleep, start_forked
from gala_rl.processes.spawn import start_process
out, started, errors = Path(sys.argv[1]), [], []
def begin():
    try:
        started.append(start_forked(out))
        started.append(start_process(sleep, out, "gala-actor-0"))
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=begin) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
while len(list(out.iterdir())) < len(started):
    time.sleep(0.01)
print(errors, [process.exitcode for process in started])
for process in started:
    process.kill()
    end(process)
"""


def test_processes_started_by_threads_at_once_outlive_these_threads(tmp_path: Path) -> None:
    assert in_a_program(IN_THREADS, tmp_path) == f"[] {[None] * 4}"


FROM_ANOTHER = """
import os, sys, psutil
from pathlib import Path
from tests.processes.work import end, start_forked
process = start_forked(Path(sys.argv[1]))
print("spawned" if psutil.Process(process.pid).ppid() == os.getpid() else "served")
process.kill()
end(process)
"""


@pytest.mark.parametrize(("longer", "how"), [(0, "served"), (1, "spawned")])
def test_the_folder_for_temporary_files_may_have_a_long_name(longer: int, how: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        place = Path(f"{short}/".ljust(MAX_SOCKET_FOLDER + longer, "x"))
        place.mkdir()
        command = [sys.executable, "-c", FROM_ANOTHER, short]
        environment = {**os.environ, "TMPDIR": str(place)}
        told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.split() == [how]


def test_exit_codes_are_told_and_nothing_stays_open(tmp_path: Path) -> None:
    assert end(start(leave_in_c, tmp_path)) == 7
    before = open_files()
    for _ in range(5):
        assert end(start(leave_in_c, tmp_path)) == 7
    assert open_files() == before


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_sent_to_the_whole_group_does_not_end_it(
    tmp_path: Path, signal_number: signal.Signals
) -> None:
    for process in (start(sleep, tmp_path), start_process(sleep, tmp_path, "gala-learner-1")):
        # At the earliest moment, too.
        os.kill(process.pid or 0, signal_number)
        wait_for(tmp_path.joinpath(f"asleep-{process.pid}").exists)
        os.kill(process.pid or 0, signal_number)
        process.join(0.2)
        assert process.exitcode is None
        process.kill()
        assert end(process) == -signal.SIGKILL


def test_a_server_that_is_killed_takes_its_processes_along_and_has_a_successor(
    tmp_path: Path,
) -> None:
    process = start(sleep, tmp_path)
    wait_for(lambda: any(tmp_path.iterdir()))
    server = psutil.Process(process.pid).parent()
    assert server is not None
    assert server.pid != os.getpid()
    server.kill()
    assert end(process) not in (0, None)
    wait_for(lambda: not psutil.pid_exists(process.pid or 0))
    assert end(start(leave_in_c, tmp_path)) == 7


@pytest.mark.parametrize("stopped", [False, True])
def test_nobody_outlives_who_started_them_nor_does_the_server(
    stopped: bool, tmp_path: Path
) -> None:
    """What is stopped, or hangs in C, cannot end by itself: the kernel ends it, by the server."""
    if stopped and sys.platform != "linux":
        pytest.skip("only Linux ends processes with their parents")
    supervisor = multiprocessing.get_context("spawn").Process(target=supervise, args=(tmp_path,))
    supervisor.start()
    wait_for(lambda: any(tmp_path.iterdir()))
    family = psutil.Process(supervisor.pid).children(recursive=True)
    (learner,) = (process for process in family if process.name() == "gala-learner-0")
    if stopped:
        learner.suspend()
    supervisor.kill()
    supervisor.join(GIVE_UP_S)
    _, alive = psutil.wait_procs(family, timeout=GIVE_UP_S)
    for process in alive:
        process.kill()
    assert alive == []
