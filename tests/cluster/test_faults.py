"""Learners, nodes and the driver die or fall silent; the others go on, and nobody is left over."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest

from gala_rl.cluster.system import ClusterSystem
from gala_rl.records import checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.status import Status
from tests.cluster.machines import (
    CONFIG,
    GIVE_UP_S,
    ROOT,
    Machines,
    learners_of,
    node_actors,
    run,
    wait_until,
)

Script = Generator[None, None, None]
"""Disturbs a run; yields wherever it waits for the next look."""


class Observer:
    """Plays a script over the looks at a run, then stops it."""

    def __init__(self, script: Callable[["Observer"], Script]) -> None:
        self.notices: list[str] = []
        self.statuses: list[Status] = []
        self._script = script(self)
        self._give_up = time.monotonic() + 2 * GIVE_UP_S

    @property
    def status(self) -> Status:
        return self.statuses[-1]

    def updates(self, *ranks: int) -> int:
        return min(self.status.updates[rank] for rank in ranks)

    def __call__(self, system: ClusterSystem, status: Status) -> None:
        assert time.monotonic() < self._give_up, f"waited in vain: {status}, {self.notices}"
        self.statuses.append(status)
        self.notices += status.notices
        if next(self._script, self) is self:
            system.stop()

    def has_heard(self, words: str) -> bool:
        return any(words in notice for notice in self.notices)


def actor_with(updates_of: int, folder: RunFolder) -> psutil.Process:
    """The node whose learners write a rank's log."""
    for actor in node_actors():
        for learner in learners_of(actor):
            if any(f"learner_{updates_of:02d}.log" in file.path for file in learner.open_files()):
                return actor
    raise AssertionError(f"learner {updates_of} of {folder.path} is on no node")


def test_learners_and_nodes_die_and_the_others_go_on(machines: Machines, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")

    def script(seen: Observer) -> Script:
        while seen.updates(0, 1, 2, 3) < 50:
            yield
        learners_of(actor_with(3, folder))[0].kill()
        while not seen.has_heard("is restarted from learner"):
            yield
        node, at_rest = actor_with(3, folder), seen.updates(2, 3)
        orphans = learners_of(node)
        node.kill()
        made = seen.updates(0, 1)
        while not seen.has_heard("node 1 (learners 2 to 3) is lost"):
            yield
        assert not psutil.wait_procs(orphans, timeout=GIVE_UP_S)[1]
        while seen.updates(0, 1) < made + 50 or not seen.has_heard(
            "node 1 (learners 2 to 3) is back"
        ):
            yield
        while seen.updates(2, 3) < at_rest + 50:
            yield

    observer = Observer(script)
    outcome = run(machines, folder, CONFIG, observer)
    assert outcome.failure is None
    assert sum(outcome.status.restarts) == 3
    wait_until(lambda: not node_actors())
    for before, after in zip(observer.statuses, observer.statuses[1:], strict=False):
        assert all(a <= b for a, b in zip(before.agent_steps, after.agent_steps, strict=True))
    saved = checkpoint.newest(folder.checkpoints)
    assert saved is not None
    assert saved.learners() == [0, 1, 2, 3]
    for rank in range(4):
        rows = MetricsReader(folder.metrics_file(rank)).new_rows()
        assert [row["updates"] for row in rows] == sorted({row["updates"] for row in rows})
        assert rows[-1]["mixes"] > 0


@pytest.mark.slow
def test_a_node_that_is_silent_is_passed_over_and_comes_back(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.cluster.post._SILENT_S", 2.0)
    folder = RunFolder(tmp_path / "run")

    def script(seen: Observer) -> Script:
        while seen.updates(0, 1, 2, 3) < 50:
            yield
        node = actor_with(0, folder)
        node.suspend()
        made = seen.updates(2, 3)
        while not seen.has_heard("node 0 (learners 0 to 1) is lost"):
            yield
        while seen.updates(2, 3) < made + 50:
            yield
        node.resume()
        while not seen.has_heard("node 0 (learners 0 to 1) is back"):
            yield

    outcome = run(machines, folder, CONFIG, Observer(script))
    assert outcome.failure is None
    assert outcome.status.restarts == [0, 0, 0, 0], "it was never dead"


def start_driver(arguments: list[str], folder: RunFolder) -> subprocess.Popen[bytes]:
    """A run that would last for ever, in a session of its own, until all learners have written."""
    written = [rows_of(folder, rank) for rank in range(2)]
    driver = subprocess.Popen(
        [sys.executable, "-m", "gala_rl.cli", *arguments],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: all(rows_of(folder, rank) > written[rank] for rank in range(2)))
    return driver


def rows_of(folder: RunFolder, rank: int) -> int:
    file = folder.metrics_file(rank)
    return len(MetricsReader(file).new_rows()) if file.is_file() else 0


@pytest.mark.slow
def test_an_interrupted_driver_saves_and_nobody_outlives_a_killed_one(
    machines: Machines, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    arguments = f"train gala-a2c --env {CONFIG.env} --learners 2 --simulators 2 --steps 1G"
    arguments += f" --log-every 5 --cluster {machines.address} --out {folder.path}"
    driver = start_driver(arguments.split(), folder)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(GIVE_UP_S) == 130
    saved = checkpoint.newest(folder.checkpoints)
    assert saved is not None
    assert saved.learners() == [0, 1]
    wait_until(lambda: not node_actors())

    driver = start_driver(["resume", str(folder.path)], folder)
    processes = [p for actor in node_actors() for p in (actor, *learners_of(actor))]
    assert len(processes) == 4
    driver.kill()
    driver.wait()
    assert not psutil.wait_procs(processes, timeout=GIVE_UP_S)[1]


@pytest.mark.slow
def test_a_machine_dies_and_another_takes_its_place(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    own = Machines(2)

    def script(seen: Observer) -> Script:
        while seen.updates(0, 1, 2, 3) < 50:
            yield
        made = list(seen.status.updates)
        own.kill_last()
        while not seen.has_heard("is lost"):
            yield
        lost = 1 if seen.has_heard("node 1 (learners 2 to 3) is lost") else 0
        there, gone = ((0, 1), (2, 3)) if lost else ((2, 3), (0, 1))
        while seen.updates(*there) < max(made) + 100:
            yield
        at_rest = seen.updates(*gone)
        own.add()
        while not seen.has_heard("is back") or seen.updates(*gone) < at_rest + 50:
            yield

    try:
        outcome = run(own, folder, CONFIG, Observer(script))
    finally:
        own.close()
    assert outcome.failure is None
    assert sorted(outcome.status.restarts) == [0, 0, 1, 1]
