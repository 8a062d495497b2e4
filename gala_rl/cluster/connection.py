"""The way to a Ray cluster: nodes placed on its machines, and held against one another."""

import contextlib
import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from gala_rl.checks.fault_plan import check_fault_plan
from gala_rl.cluster.placement import Placement
from gala_rl.cluster.probe import PACKAGES, probe
from gala_rl.config import run as configs
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError
from gala_rl.gossip.topology import split_into_nodes
from gala_rl.graph import graph_of
from gala_rl.methods import capacity, find

_REACHED_S = 10.0
PLACED_S = 15.0
"""Ray finds room within it, or there is none."""
_PLACED_LOOK_EVERY_S = 0.05
PROBED_S = 120.0
"""A machine that has not even answered by then cannot run learners."""


@dataclass(frozen=True)
class Connection:
    """A cluster with a node for every share of the learners.

    Attributes:
        config: of the run, with `learners_per_node`.
        nodes: actors, by index.
        ranks: of the learners of each node.
        actors: indices of those of each node, if one learner has actors on all; else empty.
        places: of the nodes, which may become more or fewer.
    """

    config: ResolvedConfig
    nodes: tuple[Any, ...]
    ranks: tuple[range, ...]
    places: Placement
    actors: tuple[range, ...] = ()

    @property
    def shares(self) -> tuple[range, ...]:
        """Ranks of the learners that there can be on each node."""
        if self.actors:
            return self.ranks
        assert self.config.learners_per_node is not None
        return split_into_nodes(capacity(self.config), self.config.learners_per_node)


@contextlib.contextmanager
def connect(config: ResolvedConfig) -> Iterator[Connection]:
    """Nodes that can run the learners of a config; none is left afterwards.

    Args:
        config: of the run, resolved; `cluster` is an address.

    Raises:
        UserError: when there is no cluster there, or it cannot run them.
    """
    _join(config.cluster or "auto")
    try:
        actors: tuple[range, ...] = ()
        if find(config.method).sharing == "nothing":
            actors = share_out_actors(config.algorithm.actor_count, _machines())
            ranks = (range(1), *[range(0)] * (len(actors) - 1))
        else:
            config = _share_out(config)
            assert config.learners_per_node is not None
            ranks = split_into_nodes(config.learners, config.learners_per_node)
            graph_of(config, config.learners)
            check_fault_plan(config)
        with contextlib.closing(Placement(config, actors)) as places:
            nodes = _placed(places, ranks)
            _probe_all(nodes, ranks, config)
            yield Connection(config, nodes, ranks, places, actors)
    finally:
        ray.shutdown()


def compare(probes: list[dict[str, Any]]) -> None:
    """Refuse machines that cannot run learners, or would run others than the first one.

    Raises:
        UserError: naming the machine and what is wrong there.
    """
    for told in probes:
        if "error" in told:
            raise UserError(f"machine {told['host']} cannot run learners: {told['error']}")
        for name in (*PACKAGES, "python", "parameters"):
            if told[name] != probes[0][name]:
                raise UserError(
                    f"machine {told['host']} has {name} {told[name]}, {probes[0]['host']} has "
                    f"{probes[0][name]}: install the same on all"
                )


def _join(address: str) -> None:
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    _check_reachable(address)
    try:
        with warnings.catch_warnings(), _quiet():
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
            f"cluster {address!r} cannot be joined: {reason}; this machine has to be one of it, by "
            f"`ray start`, with the same Ray and, if it has a token, with the same token and "
            f"RAY_AUTH_MODE=token: docs/cluster.md"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's C++ from telling every second why it cannot join; the last reason is raised."""
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
    """Ray itself would try for minutes."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise UserError(f"cluster {address!r} is no address: give auto or HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_S).close()
    except OSError as error:
        raise UserError(
            f"cluster {address!r} does not answer ({error}): give the address that `ray start "
            f"--head` has told, or auto"
        ) from error


def _share_out(config: ResolvedConfig) -> ResolvedConfig:
    if config.learners_per_node is not None:
        return config
    return replace(config, learners_per_node=-(-config.learners // _machines()))


def _machines() -> int:
    """That have a CPU for anybody."""
    there = sum(m["Alive"] and m["Resources"].get("CPU", 0) >= 1 for m in ray.nodes())
    return max(1, int(there))


def share_out_actors(actors: int, machines: int) -> tuple[range, ...]:
    """Indices of the actors of each node; the first has the learner too, which counts as one."""
    share = -(-(actors + 1) // machines)
    starts = range(0, actors + 1, share)
    return tuple(range(max(0, s - 1), min(s + share - 1, actors)) for s in starts)


def _placed(places: Placement, ranks: tuple[range, ...]) -> tuple[Any, ...]:
    places.ask(ranks)
    deadline = time.monotonic() + PLACED_S
    while not places.has_all():
        if time.monotonic() > deadline:
            raise places.why_not(ranks)
        time.sleep(_PLACED_LOOK_EVERY_S)
    return tuple(places.hold().values())


def _probe_all(nodes: tuple[Any, ...], ranks: tuple[range, ...], config: ResolvedConfig) -> None:
    values = values_to_probe(config)
    try:
        answers = [
            node.probe.remote(values, len(share) > 0)
            for node, share in zip(nodes, ranks, strict=True)
        ]
        there = ray.get(answers, timeout=PROBED_S)
    except ray.exceptions.RayError as error:
        raise cannot_run(config, error) from error
    compare([probe_here(values), *there])


def values_to_probe(config: ResolvedConfig) -> dict[str, Any]:
    """What nodes are asked whether they can run it; see `probe`."""
    # Topology and run folder are of this machine; what a node needs of them crosses later.
    gossip = replace(config.gossip, topology="directed-ring")
    return configs.to_dict(replace(config, gossip=gossip, cluster=None, out=None))


def probe_here(values: dict[str, Any]) -> dict[str, Any]:
    """What this machine answers, which need not be fit for learners."""
    return probe(values, has_learners=False)


def cannot_run(config: ResolvedConfig, error: Exception) -> UserError:
    """What to tell when a node could not even be asked."""
    reason = str(error).strip().splitlines()[-1]
    return UserError(
        f"cluster {config.cluster!r} cannot run learners: {reason}; install gala-rl on every "
        f"machine, in the Python that Ray runs there"
    )
