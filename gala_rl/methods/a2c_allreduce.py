"""A2C with gradients averaged over all learners by all-reduce: one A2C on many processes."""

from dataclasses import replace

from gala_rl.methods import a2c, gala_a2c

METHOD = replace(
    a2c.METHOD,
    name="a2c-allreduce",
    title="synchronous advantage actor-critic replicas",
    paper="Stooke and Abbeel 2018, arXiv 1803.02811 (synchronous form)",
    sharing="gradients",
    default_learners=gala_a2c.default_learners,
)
