"""GALA-PPO: several PPO learners that average their parameters with their neighbours."""

from dataclasses import replace

from gala_rl.methods import gala_a2c, ppo

METHOD = replace(
    ppo.METHOD,
    name="gala-ppo",
    title="gossiping proximal policy optimisation learners",
    paper="Assran et al. 2019, arXiv 1906.04585; Schulman et al. 2017, arXiv 1707.06347",
    sharing="gossip",
    default_learners=gala_a2c.default_learners,
)
