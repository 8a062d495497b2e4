"""REINFORCE with a baseline, alone or as gossiping learners: policy gradients on whole returns."""

from dataclasses import dataclass, replace
from typing import Literal

from gala_rl.config.settings import ActorCriticSettings, LearningRateRule, setting, with_default
from gala_rl.methods.method import Method, one_per_core
from gala_rl.spaces import EnvKind


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings(ActorCriticSettings):
    """REINFORCE (Williams 1992) with a learned baseline (Sutton and Barto 2018, section 13.4)."""

    name = "reinforce"
    learner = "gala_rl.learners.reinforce"
    rollout_steps: int = with_default(256, "rollout_steps")
    learning_rate: float = with_default(3e-3, "learning_rate")
    learning_rate_rule: LearningRateRule = with_default("constant", "learning_rate_rule")
    optimizer: Literal["rmsprop", "rmsprop-tf", "adam"] = with_default("adam", "optimizer")
    returns: Literal["episode", "truncated"] = setting(
        "episode",
        "episode: learn from steps whose episode ends within the rollout; "
        "truncated: learn from all steps, from their rewards up to the end of the rollout",
    )


def settings(kind: EnvKind) -> ReinforceSettings:
    """Return truncated returns for Atari, whose games last longer than any rollout."""
    if kind == "atari":
        return ReinforceSettings(returns="truncated", rollout_steps=128, learning_rate=3e-4)
    return ReinforceSettings()


METHOD = Method(
    name="reinforce",
    title="policy gradient with a baseline, on whole returns",
    paper="Williams 1992, doi 10.1007/BF00992696; Sutton and Barto 2018, section 13.4",
    sharing="nothing",
    default_learners=lambda cores: 1,
    default_simulators=lambda kind: 4,
    settings=settings,
)

GALA_METHOD = replace(
    METHOD,
    name="gala-reinforce",
    title="gossiping policy gradient learners",
    paper=f"Assran et al. 2019, arXiv 1906.04585, with {METHOD.paper}",
    sharing="gossip",
    default_learners=one_per_core,
)
