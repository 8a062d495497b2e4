"""Helpers for tests on a cluster: machines that start and die, and the processes on them."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from gala_rl.agent import initial_parameters_of
from gala_rl.cluster.connection import connect
from gala_rl.cluster.driver import ClusterRun
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.status import RunOutcome

GIVE_UP_S = 120.0
ROOT = Path(__file__).parents[2]


class Machines:
    """A Ray cluster of so many machines with two CPUs each; the first is the head."""

    def __init__(self, count: int) -> None:
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "include_dashboard": False, "num_gpus": 0},
        )
        self._workers = [self._add() for _ in range(count - 1)]

    @property
    def address(self) -> str:
        """For `--cluster`."""
        return str(self._cluster.address)

    @property
    def ip(self) -> str:
        """Return the address that Ray knows for every machine: all are this one."""
        return self.address.partition(":")[0]

    def kill_last(self) -> None:
        """The last machine is gone at once."""
        self._cluster.remove_node(self._workers.pop(), allow_graceful=False)

    def add(self) -> None:
        """Another machine joins."""
        self._workers.append(self._add())

    def close(self) -> None:
        """All machines are gone."""
        self._cluster.shutdown()

    def _add(self) -> object:
        return self._cluster.add_node(num_cpus=2, num_gpus=0)


def node_actors() -> list[psutil.Process]:
    """Processes of nodes that are alive on the machines that these tests have started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith("ray::Node") or "ray::Node" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def learners_of(actor: psutil.Process) -> list[psutil.Process]:
    """Learners of a node, or actors of one that has no learners, without what they have started."""
    ours = [p for p in actor.children(recursive=True) if p.name().startswith("gala-")]
    return [p for p in ours if p.parent() not in ours]


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)


CONFIG = TrainConfig(
    method="gala-a2c",
    env="tests.environments:Drifting-v0",
    learners=4,
    learners_per_node=2,
    simulators=2,
    steps=10**12,
    log_every=20,
)
"""A run that goes on until something stops it."""


def run(
    machines: Machines,
    folder: RunFolder,
    config: TrainConfig,
    observer: Any,
    start: Checkpoint | None = None,
) -> RunOutcome:
    """Learners of a run on the cluster; what the observer raises ends it.

    Args:
        machines: to run on.
        folder: of the run, which is made, if it does not start from a checkpoint.
        config: of the run.
        observer: called with the system and its status.
        start: what to continue from.
    """
    with connect(resolve(replace(config, cluster=machines.address))) as connection:
        if start is None:
            folder.create(connection.config)
        system = ClusterRun(connection, folder, initial_parameters_of(connection.config), start)
        return system.run(lambda status: observer(system, status))
