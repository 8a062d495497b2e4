"""PPO with gradients averaged over all learners by all-reduce, in every minibatch's step."""

from dataclasses import replace

from gala_rl.methods import gala_a2c, ppo

METHOD = replace(
    ppo.METHOD,
    name="ppo-allreduce",
    title="synchronous proximal policy optimisation replicas",
    paper="Stooke and Abbeel 2018, arXiv 1803.02811 (synchronous form); "
    "Schulman et al. 2017, arXiv 1707.06347",
    sharing="gradients",
    default_learners=gala_a2c.default_learners,
)
