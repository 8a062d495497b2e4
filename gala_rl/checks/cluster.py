"""Checks which runs are possible on a cluster, and which settings only there."""

from collections.abc import Mapping
from typing import Any

from gala_rl.checks import Row
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.gossip.topology import HIERARCHICAL
from gala_rl.methods import METHODS, find

_ON_CLUSTERS = ("gossip", "gradients")
"""Kinds of sharing that are possible between learners on several machines."""


def cluster_rows(config: TrainConfig, settings: Mapping[str, Any]) -> list[Row]:
    """Return checks of a run on a cluster, before the config is resolved by this machine's cores.

    Args:
        config: config of the run.
        settings: given settings of the algorithm, by name.
    """
    method, cluster = find(config.method), f"cluster {config.cluster!r}"
    able = [m.name for m in METHODS if m.sharing in _ON_CLUSTERS]
    distributes_actors = method.sharing == "nothing" and method.has_actors
    alone = [m.name for m in METHODS if m.sharing == "nothing" and m.has_actors]
    actors = settings.get("actors", getattr(config.algorithm, "actors", None))
    return [
        (
            method.sharing not in _ON_CLUSTERS and not distributes_actors,
            f"{cluster} is impossible with {method.name}: only learners that gossip or average "
            f"gradients, and actors, can be on several machines; choose one of "
            f"{', '.join((*able, *alone))}",
        ),
        (
            not method.gossips and config.message_precision != "float32",
            f"message_precision {config.message_precision!r} is for learners that gossip: "
            f"{method.name} needs float32; leave it out",
        ),
        (
            not method.gossips and config.fault_plan is not None,
            f"fault_plan is for learners that gossip where there is a cluster: leave it out with "
            f"{method.name}, or leave out cluster",
        ),
        (
            distributes_actors and config.learners_per_node is not None,
            f"learners_per_node {config.learners_per_node} is of no use with {method.name}: it has "
            f"one learner, whose actors are distributed over all machines; leave it out",
        ),
        (
            distributes_actors and actors is None,
            f"{cluster} needs --actors: say how many there are on all machines",
        ),
        (
            not distributes_actors and config.learners is None,
            f"{cluster} needs --learners: say how many there are on all machines",
        ),
        (
            settings.get("save_replay", getattr(config.algorithm, "save_replay", False)),
            f"save_replay is impossible with {cluster}, where checkpoints are small enough to be "
            f"sent: leave it out",
        ),
        (config.serial, "serial is for one process, cluster for many machines: leave one out"),
    ]


def no_cluster_rows(config: ResolvedConfig) -> list[Row]:
    """Return checks of settings that have no effect on a single machine."""
    return [
        (
            config.learners_per_node is not None and config.gossip.topology_name != HIERARCHICAL,
            f"learners_per_node {config.learners_per_node} is of no use with topology "
            f"{config.gossip.topology_name}: leave it out, or choose {HIERARCHICAL}",
        ),
        (
            config.message_precision != "float32",
            f"message_precision {config.message_precision!r} is for messages between machines of "
            f"a cluster: leave it out, or give --cluster",
        ),
    ]
