"""IMPALA: one learner, and actors that are ahead of it; what they did is corrected by V-trace."""

from gala_rl.config.settings import ImpalaSettings
from gala_rl.methods.method import Method
from gala_rl.spaces import EnvKind


def settings(kind: EnvKind) -> ImpalaSettings:
    """The paper's for Atari; small networks elsewhere take, and need, larger steps."""
    return ImpalaSettings() if kind == "atari" else ImpalaSettings(learning_rate=5e-3)


METHOD = Method(
    name="impala",
    title="importance-weighted actors and learner",
    paper="Espeholt et al. 2018, arXiv 1802.01561",
    sharing="nothing",
    default_learners=lambda cores: 1,
    default_simulators=lambda kind: 32,
    settings=settings,
)
