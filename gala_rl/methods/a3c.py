"""A3C: workers with a simulator each, who step one parameter vector without locks."""

from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.method import Method

PAPER_WORKERS = 16


def default_learners(cores: int) -> int:
    """A worker a core, as in the paper; 4 at least, since they replace the batch."""
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
