"""Connects to a Ray cluster, places nodes on its machines and probes them."""

import contextlib
import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from gala_rl.checks.fault_plan import check_fault_plan
from gala_rl.cluster.placement import Placement
from gala_rl.cluster.probe import PROBE_S, cannot_run, compare, config_to_probe, probe_config
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError
from gala_rl.gossip.topology import split_into_nodes
from gala_rl.graph import graph_of
from gala_rl.methods import find
from gala_rl.methods.resolving import capacity

_CONNECT_S = 10.0
PLACEMENT_S = 15.0
"""Ray has to find room for all nodes within this time."""
_POLL_EVERY_S = 0.05


@dataclass(frozen=True)
class Connection:
    """A connection to a cluster, on which each node runs a share of the learners.

    Attributes:
        config: config of the run, with `learners_per_node`.
        nodes: Ray actors, by index.
        ranks: ranks of the learners of each node.
        placement: placement of the nodes, whose number may change.
        actors: indices of the actors per node, if one learner has actors on all; else empty.
    """

    config: ResolvedConfig
    nodes: tuple[Any, ...]
    ranks: tuple[range, ...]
    placement: Placement
    actors: tuple[range, ...] = ()

    @property
    def shares(self) -> tuple[range, ...]:
        """Ranks of the learners that each node may run, up to the capacity of the run."""
        if self.actors:
            return self.ranks
        assert self.config.learners_per_node is not None
        return split_into_nodes(capacity(self.config), self.config.learners_per_node)


@contextlib.contextmanager
def connect(config: ResolvedConfig) -> Iterator[Connection]:
    """Start nodes that can run the learners of a config; they end with the `with` block.

    Args:
        config: resolved config of the run; `cluster` is an address.

    Raises:
        UserError: when there is no cluster at the address, or it cannot run the learners.
    """
    _join(config.cluster or "auto")
    try:
        actors: tuple[range, ...] = ()
        if find(config.method).sharing == "nothing":
            actors = distribute_actors(config.algorithm.actor_count, _machines())
            ranks = (range(1), *[range(0)] * (len(actors) - 1))
        else:
            if config.learners_per_node is None:
                config = replace(config, learners_per_node=-(-config.learners // _machines()))
            assert config.learners_per_node is not None
            ranks = split_into_nodes(config.learners, config.learners_per_node)
            graph_of(config, config.learners)
            check_fault_plan(config)
        with contextlib.closing(Placement(config, actors)) as placement:
            nodes = NewNodes(config, placement, ranks)
            while not nodes.are_ready():
                time.sleep(_POLL_EVERY_S)
            yield Connection(config, tuple(nodes.actors.values()), ranks, placement, actors)
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    _check_reachable(address)
    try:
        with warnings.catch_warnings(), _native_stderr_hidden():
            warnings.simplefilter("ignore")
            ray.init(
                address=address,
                namespace="gala",
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        ray.shutdown()
        reason = str(error).strip().splitlines()[0].partition(". ")[0]
        raise UserError(
            f"cluster {address!r} cannot be joined: {reason}; this machine has to join it by "
            f"`ray start`, with the same Ray and, if it has a token, with the same token and "
            f"RAY_AUTH_MODE=token: docs/cluster.md"
        ) from error


@contextlib.contextmanager
def _native_stderr_hidden() -> Iterator[None]:
    """Hide what Ray's C++ prints every second while it cannot join; Ray raises the last reason."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_reachable(address: str) -> None:
    """Reject an address that does not answer; Ray itself would try for minutes."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise UserError(f"cluster {address!r} is no address: give auto or HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise UserError(
            f"cluster {address!r} does not answer ({error}): give the address that `ray start "
            f"--head` has printed, or auto"
        ) from error


def _machines() -> int:
    """Return the number of machines with a CPU for learners or actors, at least 1."""
    machines = sum(m["Alive"] and m["Resources"].get("CPU", 0) >= 1 for m in ray.nodes())
    return max(1, int(machines))


def distribute_actors(actors: int, machines: int) -> tuple[range, ...]:
    """Return indices of the actors per node; the learner, on the first, counts as an actor."""
    share = -(-(actors + 1) // machines)
    starts = range(0, actors + 1, share)
    return tuple(range(max(0, s - 1), min(s + share - 1, actors)) for s in starts)


class NewNodes:
    """Nodes that a run needs beyond those it has, until they have been placed and probed.

    Args:
        config: resolved config of the run.
        placement: placement of the run's nodes.
        ranks: ranks of the learners per node, existing nodes included.

    Attributes:
        actors: Ray actors of the new nodes, by index; empty until Ray has found room.
    """

    def __init__(
        self, config: ResolvedConfig, placement: Placement, ranks: tuple[range, ...]
    ) -> None:
        self.actors: dict[int, Any] = {}
        self._config, self._placement, self._ranks = config, placement, ranks
        self._probes: list[Future[dict[str, Any]]] | None = None
        self._deadline = time.monotonic() + PLACEMENT_S
        self._placement.request(self._ranks)

    def are_ready(self) -> bool:
        """Return whether all nodes are probed and can run learners; never wait.

        Raises:
            UserError: when a node cannot run learners, or the cluster has no room for it.
        """
        is_late = time.monotonic() > self._deadline
        if self._probes is None:
            if self._placement.is_granted():
                self._start()
            elif is_late:
                raise self._placement.no_room(self._ranks)
            return False
        if all(probe.done() for probe in self._probes):
            self._check(self._probes)
            return True
        if is_late:
            raise cannot_run(self._config, TimeoutError(f"a node did not answer in {PROBE_S:g} s"))
        return False

    def cancel(self) -> None:
        """End the new nodes; existing nodes are not changed."""
        self._placement.cancel()

    def _start(self) -> None:
        self.actors = self._placement.start_nodes()
        values = config_to_probe(self._config)
        self._probes = [
            actor.probe.remote(values, len(self._ranks[node]) > 0).future()
            for node, actor in self.actors.items()
        ]
        self._deadline = time.monotonic() + PROBE_S

    def _check(self, probes: "list[Future[dict[str, Any]]]") -> None:
        try:
            results = [probe.result() for probe in probes]
        except ray.exceptions.RayError as error:
            raise cannot_run(self._config, error) from error
        if results:
            compare([probe_config(self._config, has_learners=False), *results])
