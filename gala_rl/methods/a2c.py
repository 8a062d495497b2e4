"""A2C: all simulators of a learner in step, one batched update; alone or as several learners."""

from dataclasses import dataclass, replace

from gala_rl.config.settings import ActorCriticSettings
from gala_rl.methods.method import Method, one_per_core

A3C_WORKERS = 16
"""Learners of A3C in its paper."""


@dataclass(frozen=True, kw_only=True)
class A2CSettings(ActorCriticSettings):
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

GALA_METHOD = replace(
    METHOD,
    name="gala-a2c",
    title="gossiping advantage actor-critic learners",
    paper="Assran et al. 2019, arXiv 1906.04585",
    sharing="gossip",
    default_learners=one_per_core,
    # Each learner divides by the root of its own second moment: docs/theory.md.
    settings=lambda kind: A2CSettings(learning_rate_rule="linear", bias_correction=True),
    paper_settings={"learning_rate_rule": "sqrt", "bias_correction": False},
)

# Gradients are averaged over all learners: one A2C on many processes.
ALLREDUCE_METHOD = replace(
    METHOD,
    name="a2c-allreduce",
    title="synchronous advantage actor-critic replicas",
    paper="Stooke and Abbeel 2018, arXiv 1803.02811 (synchronous form)",
    sharing="gradients",
    default_learners=one_per_core,
)

# Learners step one parameter vector in turn, chunk by chunk under locks.
ASYNC_METHOD = replace(
    METHOD,
    name="a2c-async",
    title="asynchronous advantage actor-critic learners",
    paper="Stooke and Abbeel 2018, arXiv 1803.02811 (asynchronous form)",
    sharing="locked-parameters",
    default_learners=one_per_core,
    # A step is made of one learner's batch, however many learners there are.
    settings=lambda kind: A2CSettings(learning_rate_rule="constant"),
)

# Learners with one simulator each update one parameter vector without locks.
A3C_METHOD = replace(
    METHOD,
    name="a3c",
    title="asynchronous advantage actor-critic workers",
    paper="Mnih et al. 2016, arXiv 1602.01783",
    sharing="parameters",
    # One per core, as in the paper; at least 4, since they replace the batch.
    default_learners=lambda cores: min(max(4, cores), A3C_WORKERS),
    default_simulators=lambda kind: 1,
    settings=lambda kind: A2CSettings(
        optimizer="rmsprop-tf", learning_rate_rule="constant", learning_rate_schedule="linear"
    ),
)
