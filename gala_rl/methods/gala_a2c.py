"""GALA-A2C: several A2C learners that average their parameters with their neighbours."""

from dataclasses import replace

from gala_rl.methods import a2c

MAX_DEFAULT_LEARNERS = 8
"""More would be faster on a large machine, but with 16 simulators each the batch gets large."""


def default_learners(cores: int) -> int:
    """Return one learner per core: with one thread each, no core waits for another."""
    return min(max(2, cores), MAX_DEFAULT_LEARNERS)


METHOD = replace(
    a2c.METHOD,
    name="gala-a2c",
    title="gossiping advantage actor-critic learners",
    paper="Assran et al. 2019, arXiv 1906.04585",
    sharing="gossip",
    default_learners=default_learners,
)
