"""A2C: one learner, all simulators in step, one batched update."""

from dataclasses import dataclass

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.methods.method import Method


@dataclass(frozen=True, kw_only=True)
class A2CSettings(AlgorithmSettings):
    """Advantage actor-critic (Mnih et al. 2016, synchronous form; values of GALA, 2019)."""

    name = "a2c"
    learner = "gala_rl.learners.a2c"


METHOD = Method(
    name="a2c",
    title="synchronous advantage actor-critic",
    paper="Mnih et al. 2016, arXiv 1602.01783; synchronous form: OpenAI Baselines, 2017",
    sharing="nothing",
    default_learners=lambda cores: 1,
    default_simulators=lambda kind: 16,
    settings=lambda kind: A2CSettings(),
)
