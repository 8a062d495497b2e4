"""Scripts that disturb a run on a cluster, and runs of a driver in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Callable, Generator

import psutil

from gala_rl.cluster.driver import ClusterRun
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunStatus
from tests.cluster.machines import GIVE_UP_S, ROOT, learners_of, node_actors, wait_until

Script = Generator[None, None, None]
"""Disturbs a run; yields wherever it waits for the next look."""


class Observer:
    """Plays a script over the looks at a run, then stops it."""

    def __init__(self, script: Callable[["Observer"], Script]) -> None:
        self.notices: list[str] = []
        self.statuses: list[RunStatus] = []
        self._script = script(self)
        self._give_up = time.monotonic() + 2 * GIVE_UP_S

    @property
    def status(self) -> RunStatus:
        return self.statuses[-1]

    def updates(self, *ranks: int) -> int:
        return min(self.status.updates[rank] for rank in ranks)

    def __call__(self, system: ClusterRun, status: RunStatus) -> None:
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


def start_driver(arguments: list[str], folder: RunFolder) -> subprocess.Popen[bytes]:
    """A run that would last for ever, in a session of its own, until all learners have written."""
    written = [rows_of(folder, rank) for rank in range(2)]
    driver = subprocess.Popen(
        [sys.executable, "-m", "gala_lab.main", *arguments],
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
