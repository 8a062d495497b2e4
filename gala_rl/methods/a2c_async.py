"""A2C learners that step one parameter vector in turn, chunk by chunk under locks."""

from dataclasses import replace

from gala_rl.methods import a2c, gala_a2c
from gala_rl.methods.a2c import A2CSettings

METHOD = replace(
    a2c.METHOD,
    name="a2c-async",
    title="asynchronous advantage actor-critic learners",
    paper="Stooke and Abbeel 2018, arXiv 1803.02811 (asynchronous form)",
    sharing="locked-parameters",
    default_learners=gala_a2c.default_learners,
    # A step is made of one learner's batch, however many learners there are.
    settings=lambda kind: A2CSettings(learning_rate_rule="constant"),
)
