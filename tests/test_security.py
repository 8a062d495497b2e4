"""Promises of SECURITY.md: nothing from disk or network is unpickled, no port is open to others."""

import ast
import contextlib
import os
import re
import signal
import socket
import stat
from pathlib import Path

import psutil
import pytest

from gala_rl.records.run_folder import RunFolder
from tests.support.run_processes import learners_of, start_command, survivors

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for part in ("gala_rl", "benchmarks", "examples")
    for path in ROOT.glob(f"{part}/**/*.py")
    if ".venvs" not in path.parts  # other libraries, installed to be compared with
)

MODULES = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"),
    *("multiprocessing.managers", "multiprocessing.queues", "multiprocessing.shared_memory"),
    "gymnasium.vector.utils.CloudpickleWrapper",
}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp"),
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
}
LOADS = {"numpy.load", "np.load", "numpy.fromfile", "np.fromfile"}
CHANNELS = {"Queue", "SimpleQueue", "JoinableQueue", "Manager", "Listener", "Client"}
"""Channels of multiprocessing that unpickle what they deliver."""
BETWEEN_OWN_PROCESSES = {
    "benchmarks/figures/runs.py": {"multiprocessing.queues.SimpleQueue", "context.SimpleQueue"},
    "gala_rl/envs/registration.py": {"gymnasium.vector.utils.CloudpickleWrapper"},
}
"""Hand whole runs, and environments of the program, to processes that are started with them as
arguments."""


def dangers(source: str) -> list[str]:
    """What in a module could run code that came from a file or from another process."""
    tree, found = ast.parse(source), []
    channel = re.search(r"\b(Connection|Pipe)\b", source) is not None
    source_of_names = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if is_forbidden(a.name)]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names]
            found += [n for n in names if is_forbidden(n) or n in CALLS | LOADS]
        elif isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            found += [text] * (text in CALLS - {"compile"} or node.attr in CHANNELS)
            # Of a connection, these pickle; their siblings for bytes do not.
            found += [text] * (channel and node.attr in ("recv", "send"))
        elif isinstance(node, ast.Call):
            # Between threads nothing is pickled.
            between_threads = source_of_names.get(ast.unparse(node.func)) == "queue"
            found += [] if between_threads else dangerous_call(node)
    return found


def is_forbidden(name: str) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:n]) in MODULES for n in range(1, len(parts) + 1))


def dangerous_call(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    unsafe_load = name in LOADS and given.get("allow_pickle") != "False"
    # There, `shell` is the name of one to complete words for.
    shell = given.get("shell", "False") != "False" and name != "shtab.complete"
    return [name] if name in CALLS or name in CHANNELS or unsafe_load or shell else []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "import joblib.parallel",
        "from pickle import loads",
        "from torch import load",
        "from yaml import load",
        "def f(path):\n    return torch.load(path)",
        "read = torch.load",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "exec(compile(text, '', 'exec'))",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
        "multiprocessing.Queue()",
        "context.SimpleQueue()",
        "here, there = multiprocessing.Pipe()\nhere.recv()",
        "from multiprocessing.connection import Connection\ndef f(c: Connection): c.send({})",
        "from multiprocessing.managers import BaseManager",
    ],
)
def test_the_search_sees_what_is_planted(planted: str) -> None:
    assert dangers(planted)


@pytest.mark.parametrize(
    "harmless",
    [
        "np.load(path, allow_pickle=False)",
        "re.compile(text)",
        "model.eval()",
        "here, there = multiprocessing.Pipe()\nhere.recv_bytes(1)",
        "line.recv(1)",
        "from queue import SimpleQueue\nwords = SimpleQueue()",
        "subprocess.run(['git'], check=True)",
    ],
)
def test_the_search_leaves_alone_what_is_harmless(harmless: str) -> None:
    assert dangers(harmless) == []


def test_no_source_unpickles_or_runs_what_it_reads() -> None:
    assert len(SOURCES) > 150
    found = {str(s.relative_to(ROOT)): dangers(s.read_text(encoding="utf-8")) for s in SOURCES}
    found = {name: what for name, what in found.items() if what}
    assert {name: set(what) for name, what in found.items()} == BETWEEN_OWN_PROCESSES


def listening(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    """Addresses at which processes take connections, or packets from anybody."""
    return [
        (connection.laddr.ip, connection.laddr.port)
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
        or (connection.type == socket.SOCK_DGRAM and not connection.raddr)
    ]


def test_a_listener_is_seen() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert ("0.0.0.0", server.getsockname()[1]) in listening([psutil.Process()])


@pytest.mark.parametrize(
    ("method", "listens", "end"),
    [
        ("a2c-allreduce", 1, signal.SIGINT),
        *(
            pytest.param(method, listens, signal.SIGKILL, marks=pytest.mark.slow)
            for method, listens in (("gala-a2c", 0), ("a2c-allreduce", 1), ("gala-impala", 0))
        ),
    ],
)
def test_a_running_run_listens_on_nothing_but_loopback_and_keeps_its_files_to_itself(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    listens: int,
    end: signal.Signals,
) -> None:
    """Replicas find one another through sockets; other learners open none."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = os.umask(0o022)
    command = start_command(tmp_path / "run", method)
    try:
        processes = learners_of(command)
        assert len(processes) >= 2
        addresses = listening([psutil.Process(command.pid), *processes])
        assert len(addresses) >= listens
        assert {ip for ip, _port in addresses} <= {"127.0.0.1", "::1"}
        check_nobody_else_may_write(RunFolder(tmp_path / "run").path)
        assert modes_below(temporary, stat.S_IRWXG | stat.S_IRWXO) == {}
        if end == signal.SIGINT:
            os.kill(command.pid, end)
            assert command.wait(120) == 130
    finally:
        os.umask(before)
        if command.poll() is None:
            os.killpg(command.pid, signal.SIGKILL)
        command.wait()
    assert survivors(processes) == []
    assert end == signal.SIGKILL or list(temporary.iterdir()) == []


def check_nobody_else_may_write(folder: Path) -> None:
    assert len(modes_below(folder)) > 5
    assert modes_below(folder, stat.S_IWGRP | stat.S_IWOTH) == {}
    assert not folder.lstat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def modes_below(folder: Path, bits: int = -1) -> dict[Path, int]:
    """Modes of files and folders that have one of these bits; what a run deletes is passed over."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                path = Path(place, name)
                found[path] = path.lstat().st_mode
    return {path: mode for path, mode in found.items() if mode & bits}
