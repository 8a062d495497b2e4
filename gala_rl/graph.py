"""The communication graph of a run, as its config specifies it."""

from gala_rl.config.train import TrainConfig
from gala_rl.gossip import topology
from gala_rl.gossip.topology import Topology


def graph_of(config: TrainConfig, learners: int) -> Topology:
    """Return the topology on which a run's learners gossip.

    Raises:
        UserError: when the config names no usable topology.
    """
    return topology.make(config.gossip.topology_name, learners, config.learners_per_node)


def max_in_degree(config: TrainConfig, learners: int) -> int:
    """Return the largest in-degree of a run's topology with this many learners.

    Raises:
        UserError: as `graph_of`.
    """
    return topology.max_in_degree(config.gossip.topology_name, learners, config.learners_per_node)
