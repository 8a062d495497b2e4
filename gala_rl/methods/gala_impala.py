"""GALA-IMPALA: IMPALA learners, each with its actors, that average with their neighbours."""

from dataclasses import replace

from gala_rl.methods import impala

MAX_DEFAULT_LEARNERS = 8


def default_learners(cores: int) -> int:
    """Return one learner per two cores: one core for itself, one for its actors."""
    return min(max(2, cores // 2), MAX_DEFAULT_LEARNERS)


METHOD = replace(
    impala.METHOD,
    name="gala-impala",
    title="gossiping importance-weighted actors and learners",
    paper="Assran et al. 2019, arXiv 1906.04585, with Espeholt et al. 2018, arXiv 1802.01561",
    sharing="gossip",
    default_learners=default_learners,
)
