"""A2C: one learner, all simulators in step, one batched update."""

from gala_rl.config.settings import A2CSettings
from gala_rl.methods.method import Method

METHOD = Method(
    name="a2c",
    title="synchronous advantage actor-critic",
    paper="Mnih et al. 2016, arXiv 1602.01783; synchronous form: OpenAI Baselines, 2017",
    sharing="nothing",
    default_learners=lambda cores: 1,
    default_simulators=lambda kind: 16,
    settings=lambda kind: A2CSettings(),
)
