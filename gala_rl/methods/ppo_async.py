"""PPO learners that step one parameter vector in turn, chunk by chunk under locks."""

from dataclasses import replace

from gala_rl.methods import gala_a2c, ppo

METHOD = replace(
    ppo.METHOD,
    name="ppo-async",
    title="asynchronous proximal policy optimisation learners",
    paper="Stooke and Abbeel 2018, arXiv 1803.02811 (asynchronous form); "
    "Schulman et al. 2017, arXiv 1707.06347",
    sharing="locked-parameters",
    default_learners=gala_a2c.default_learners,
)
