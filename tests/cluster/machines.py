"""Helpers for tests on a cluster: machines that start and die, and the processes on them."""

import time
from collections.abc import Callable

import psutil
from ray.cluster_utils import Cluster

GIVE_UP_S = 120.0


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
    """Processes of nodes that are alive on this machine."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.name().startswith("ray::Node") or "ray::Node" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def learners_of(actor: psutil.Process) -> list[psutil.Process]:
    """Learners of a node."""
    return [p for p in actor.children() if "spawn_main" in " ".join(p.cmdline())]


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)
