"""A3C: learners with one simulator each, which update one parameter vector without locks."""

from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.method import Method

PAPER_WORKERS = 16


def default_learners(cores: int) -> int:
    """Return one learner per core, as in the paper; at least 4, since they replace the batch."""
    return min(max(4, cores), PAPER_WORKERS)


METHOD = Method(
    name="a3c",
    title="asynchronous advantage actor-critic workers",
    paper="Mnih et al. 2016, arXiv 1602.01783",
    sharing="parameters",
    default_learners=default_learners,
    default_simulators=lambda kind: 1,
    settings=lambda kind: A2CSettings(
        optimizer="rmsprop-tf", learning_rate_rule="constant", learning_rate_schedule="linear"
    ),
)
