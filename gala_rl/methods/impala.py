"""IMPALA: actor processes run with older parameters; V-trace corrects for their lag."""

from dataclasses import dataclass, replace
from typing import Literal

from gala_rl.config.settings import ActorCriticSettings, LearningRateRule, setting, with_default
from gala_rl.errors import UserError
from gala_rl.methods.actor_processes import ActorProcessSettings
from gala_rl.methods.method import MAX_DEFAULT_LEARNERS, Method
from gala_rl.spaces import EnvKind


@dataclass(frozen=True, kw_only=True)
class ImpalaSettings(ActorProcessSettings, ActorCriticSettings):
    """IMPALA with V-trace (Espeholt et al. 2018, table G.1).

    The paper's losses are sums over the batch; its bound on the gradient and its ε fit sums.
    `value_cost` is half its baseline cost, which weights half the squared error.
    """

    name = "impala"
    learner = "gala_rl.learners.impala"
    needs_behaviour = True
    rollout_steps: int = with_default(20, "rollout_steps")
    value_cost: float = with_default(0.25, "value_cost")
    max_grad_norm: float = with_default(40.0, "max_grad_norm")
    learning_rate: float = with_default(6e-4, "learning_rate")
    learning_rate_rule: LearningRateRule = with_default("constant", "learning_rate_rule")
    learning_rate_schedule: Literal["constant", "linear"] = with_default(
        "linear", "learning_rate_schedule"
    )
    optimizer: Literal["rmsprop", "rmsprop-tf", "adam"] = with_default("rmsprop-tf", "optimizer")
    rmsprop_epsilon: float = with_default(0.01, "rmsprop_epsilon")
    clip_rho: float = setting(1.0, "ρ̄ of V-trace: maximum weight of an error", above=0)
    clip_c: float = setting(1.0, "c̄ of V-trace: maximum weight of a trace", above=0)

    def check(self, simulators: int, *, is_recurrent: bool, is_serial: bool) -> None:
        """See `AlgorithmSettings.check`."""
        super().check(simulators, is_recurrent=is_recurrent, is_serial=is_serial)
        if self.clip_rho < self.clip_c:
            raise UserError(
                f"clip_rho {self.clip_rho} is below clip_c {self.clip_c}: V-trace needs it to be "
                f"at least as large"
            )


def settings(kind: EnvKind) -> ImpalaSettings:
    """Return the paper's values for Atari; small networks elsewhere need larger steps."""
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

GALA_METHOD = replace(
    METHOD,
    name="gala-impala",
    title="gossiping importance-weighted actors and learners",
    paper="Assran et al. 2019, arXiv 1906.04585, with Espeholt et al. 2018, arXiv 1802.01561",
    sharing="gossip",
    # One learner per two cores: one core for itself, one for its actors.
    default_learners=lambda cores: min(max(2, cores // 2), MAX_DEFAULT_LEARNERS),
)
