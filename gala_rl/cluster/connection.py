"""The way to a Ray cluster: nodes placed on its machines, and held against one another."""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from gala_rl import config as configs
from gala_rl.cluster.node import CONCURRENCY_GROUPS, PACKAGES, Node
from gala_rl.config import TrainConfig
from gala_rl.errors import UserError

_PLACED_S = 30.0
_PROBED_S = 120.0
"""A node that has not even answered by then cannot run the learners."""


@dataclass(frozen=True)
class Connection:
    """A cluster with a node for every share of the learners.

    Attributes:
        config: of the run, with `learners_per_node`.
        nodes: actors, by index.
        ranks: of the learners of each node.
    """

    config: TrainConfig
    nodes: tuple[Any, ...]
    ranks: tuple[range, ...]


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
        config = _share_out(config)
        ranks = shares(config.resolved_learners, config.resolved_learners_per_node)
        with _placed(config, ranks) as nodes:
            _compare(nodes, config)
            yield Connection(config, nodes, ranks)
    finally:
        ray.shutdown()


def shares(learners: int, per_node: int) -> tuple[range, ...]:
    """Ranks of each node, as many as fit on it; the last may have fewer."""
    return tuple(
        range(first, min(first + per_node, learners)) for first in range(0, learners, per_node)
    )


def _join(address: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(
                address=address,
                log_to_driver=False,
                configure_logging=True,
                logging_level=logging.ERROR,
                namespace="gala",
            )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"cluster {address!r} cannot be joined: {reason}; start Ray there, or give the "
            f"address that `ray start --head` has told"
        ) from error


def _share_out(config: TrainConfig) -> TrainConfig:
    if config.learners_per_node is not None:
        return config
    machines = sum(node["Alive"] for node in ray.nodes())
    return replace(config, learners_per_node=math.ceil(config.resolved_learners / machines))


@contextlib.contextmanager
def _placed(config: TrainConfig, ranks: tuple[range, ...]) -> Iterator[tuple[Any, ...]]:
    bundles = [{"CPU": float(len(share))} for share in ranks]
    if config.device == "cuda":
        bundles = [bundle | {"GPU": 1.0} for bundle in bundles]
    group = placement_group(bundles, strategy="SPREAD")
    try:
        if not group.wait(_PLACED_S):
            raise UserError(
                f"learners_per_node {config.resolved_learners_per_node} cannot be placed: the "
                f"cluster has {_inventory()}, and {len(ranks)} nodes need {bundles[0]} each; use "
                f"fewer learners, or wait until others are done"
            )
        yield tuple(_place(group, index, bundle) for index, bundle in enumerate(bundles))
    finally:
        remove_placement_group(group)


def _place(group: Any, index: int, bundle: dict[str, float]) -> Any:
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
    options = {"num_cpus": bundle["CPU"], "num_gpus": bundle.get("GPU", 0)}
    actor = ray.remote(max_restarts=-1, concurrency_groups=CONCURRENCY_GROUPS, **options)(Node)
    return actor.options(scheduling_strategy=strategy).remote()


def _inventory() -> str:
    free = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shown = [f"{r.get('CPU', 0):g} CPU, {r.get('GPU', 0):g} GPU" for r in free]
    return f"{len(free)} machines ({'; '.join(shown)})"


def _compare(nodes: tuple[Any, ...], config: TrainConfig) -> None:
    """Refuse nodes that cannot run the learners, or would run others than the first."""
    # The plan and the topology are files of this machine; they cross when learners start.
    gossip = replace(config.gossip, topology="directed-ring")
    values = configs.to_dict(replace(config, gossip=gossip, cluster=None, out=None))
    try:
        probes = ray.get([node.probe.remote(values) for node in nodes], timeout=_PROBED_S)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"cluster {config.cluster!r} cannot run learners: {reason}; install gala-rl on every "
            f"machine, in the Python that Ray runs there"
        ) from error
    for probe in probes:
        if "error" in probe:
            raise UserError(f"machine {probe['host']} cannot run learners: {probe['error']}")
        for name in (*PACKAGES, "python", "parameters"):
            if probe[name] != probes[0][name]:
                raise UserError(
                    f"machine {probe['host']} has {name} {probe[name]}, {probes[0]['host']} has "
                    f"{probes[0][name]}: install the same on all"
                )
