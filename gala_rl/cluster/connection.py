"""The way to a Ray cluster: nodes placed on its machines, and held against one another."""

import contextlib
import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from gala_rl import config as configs
from gala_rl.cluster.node import CONCURRENCY_GROUPS, Node
from gala_rl.cluster.probe import PACKAGES, probe
from gala_rl.config import TrainConfig
from gala_rl.errors import UserError
from gala_rl.faults.check import check_plan
from gala_rl.gossip.topology import nodes_of
from gala_rl.graph import graph_of
from gala_rl.methods import actors_to_share_out

_REACHED_S = 10.0
_PLACED_S = 15.0
_PROBED_S = 120.0
"""A machine that has not even answered by then cannot run learners."""


@dataclass(frozen=True)
class Connection:
    """A cluster with a node for every share of the learners.

    Attributes:
        config: of the run, with `learners_per_node`.
        nodes: actors, by index.
        ranks: of the learners of each node.
        actors: indices of those of each node, if one learner has actors on all; else empty.
    """

    config: TrainConfig
    nodes: tuple[Any, ...]
    ranks: tuple[range, ...]
    actors: tuple[range, ...] = ()


@contextlib.contextmanager
def connect(config: TrainConfig) -> Iterator[Connection]:
    """Nodes that can run the learners of a config; none is left afterwards.

    Args:
        config: of the run, resolved; `cluster` is an address.

    Raises:
        UserError: when there is no cluster there, or it cannot run them.
    """
    _join(config.cluster or "auto")
    try:
        actors: tuple[range, ...] = ()
        if (count := actors_to_share_out(config)) is not None:
            actors = share_out_actors(count, _machines())
            ranks = (range(1), *[range(0)] * (len(actors) - 1))
        else:
            config = _share_out(config)
            assert config.learners_per_node is not None
            ranks = nodes_of(config.resolved_learners, config.learners_per_node)
            graph_of(config)
            check_plan(config)
        with _placed(config, ranks, actors) as nodes:
            _probe_all(nodes, ranks, config)
            yield Connection(config, nodes, ranks, actors)
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
            f"`ray start`, with the same Ray and the same token: docs/cluster.md"
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


def _share_out(config: TrainConfig) -> TrainConfig:
    if config.learners_per_node is not None:
        return config
    return replace(config, learners_per_node=-(-config.resolved_learners // _machines()))


def _machines() -> int:
    """That have a CPU for anybody."""
    there = sum(m["Alive"] and m["Resources"].get("CPU", 0) >= 1 for m in ray.nodes())
    return max(1, int(there))


def share_out_actors(actors: int, machines: int) -> tuple[range, ...]:
    """Indices of the actors of each node; the first has the learner too, which counts as one."""
    share = -(-(actors + 1) // machines)
    starts = range(0, actors + 1, share)
    return tuple(range(max(0, s - 1), min(s + share - 1, actors)) for s in starts)


@contextlib.contextmanager
def _placed(
    config: TrainConfig, ranks: tuple[range, ...], actors: tuple[range, ...]
) -> Iterator[tuple[Any, ...]]:
    bundles = [{"CPU": float(len(share))} for share in ranks]
    for bundle, share in zip(bundles, actors, strict=False):
        bundle["CPU"] += len(share)
    if config.device == "cuda":
        # Actors act on their CPUs.
        for bundle in bundles[: sum(map(bool, ranks))]:
            bundle["GPU"] = 1.0
    group = placement_group(bundles, strategy="SPREAD")
    try:
        if not group.wait(_PLACED_S):
            needed = " and ".join(f"{number:g} {name}" for name, number in bundles[0].items())
            who = f"actors {actors[-1].stop}" if actors else ""
            who = who or f"learners_per_node {config.learners_per_node}"
            raise UserError(
                f"{who} cannot be placed on "
                f"{len(ranks)} nodes: each needs {needed}, and the cluster has {_inventory()}; use "
                f"fewer, or wait until others are done"
            )
        yield tuple(_place(group, index, bundle) for index, bundle in enumerate(bundles))
    finally:
        remove_placement_group(group)


def _place(group: Any, index: int, bundle: dict[str, float]) -> Any:
    actor = ray.remote(
        num_cpus=bundle["CPU"],
        num_gpus=bundle.get("GPU", 0),
        max_restarts=-1,
        concurrency_groups=CONCURRENCY_GROUPS,
    )(Node)
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
    return actor.options(scheduling_strategy=strategy).remote()


def _inventory() -> str:
    machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
    shown = [
        " and ".join(f"{m.get(name, 0):g} {name}" for name in ("CPU", "GPU")) for m in machines
    ]
    return f"{len(machines)} machines ({', '.join(shown)})"


def _probe_all(nodes: tuple[Any, ...], ranks: tuple[range, ...], config: TrainConfig) -> None:
    # Topology and run folder are of this machine; what a node needs of them crosses later.
    gossip = replace(config.gossip, topology="directed-ring")
    values = configs.to_dict(replace(config, gossip=gossip, cluster=None, out=None))
    # This machine need have no GPU, nor one with actors alone.
    without = values | {"device": "cpu"}
    here = probe(without)
    asked = [values if share else without for share in ranks]
    try:
        answers = [node.probe.remote(v) for node, v in zip(nodes, asked, strict=True)]
        there = ray.get(answers, timeout=_PROBED_S)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"cluster {config.cluster!r} cannot run learners: {reason}; install gala-rl on every "
            f"machine, in the Python that Ray runs there"
        ) from error
    compare([here, *there])
