"""The graph of a run: who hears whom, as its config says."""

from gala_rl.config.run import TrainConfig
from gala_rl.gossip import topology
from gala_rl.gossip.topology import Topology


def graph_of(config: TrainConfig, learners: int) -> Topology:
    """The topology on which a run's learners gossip.

    Args:
        config: of the run.
        learners: number of them.

    Raises:
        UserError: when the config names none that can be used.
    """
    return topology.make(config.gossip.topology, learners, config.learners_per_node)


def max_in_degree(config: TrainConfig, learners: int) -> int:
    """Most learners that one of so many hears in a round; quick, for any number of them.

    Raises:
        UserError: as `graph_of`.
    """
    if config.gossip.topology in topology.NAMES:
        return topology.max_in_degree(config.gossip.topology, learners)
    return graph_of(config, learners).max_in_degree
