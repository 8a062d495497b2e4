"""PPO: several epochs of minibatches on each rollout; alone or as several learners."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, Self

from gala_rl.config.settings import ActorCriticSettings, LearningRateRule, setting, with_default
from gala_rl.errors import UserError
from gala_rl.methods.method import Method, one_per_core
from gala_rl.spaces import EnvKind


@dataclass(frozen=True, kw_only=True)
class PPOSettings(ActorCriticSettings):
    """Proximal policy optimisation (Schulman et al. 2017; values of Baselines' ppo2 on Atari)."""

    name = "ppo"
    learner = "gala_rl.learners.ppo"
    needs_behaviour = True
    draws_in_updates = True
    rollout_steps: int = with_default(128, "rollout_steps")
    value_cost: float = with_default(0.25, "value_cost")
    learning_rate: float = with_default(2.5e-4, "learning_rate")
    learning_rate_rule: LearningRateRule = with_default("constant", "learning_rate_rule")
    learning_rate_schedule: Literal["constant", "linear"] = with_default(
        "linear", "learning_rate_schedule"
    )
    optimizer: Literal["rmsprop", "rmsprop-tf", "adam"] = with_default("adam", "optimizer")
    epochs: int = setting(4, "passes over the rollout per update", minimum=1)
    minibatches: int = setting(4, "minibatches per epoch, one optimizer step each", minimum=1)
    gae_lambda: float = setting(
        0.95, "λ of the advantages; 0: one step, 1: the whole rollout", minimum=0, maximum=1
    )
    normalize_advantages: bool = setting(
        True, "normalise advantages to mean 0 and standard deviation 1 in each minibatch"
    )
    clip_range: float = setting(0.1, "ε, maximum distance of the probability ratio from 1", above=0)
    anneal_clip_range: bool = setting(True, "ε falls in step with the learning rate")
    value_clip_range: float | None = setting(
        None,
        "maximum change of a value per update at full weight (Baselines' ppo2)",
        unset="unlimited",
        above=0,
    )
    target_kl: float | None = setting(
        None,
        "end an update after the epoch in which the mean KL divergence from the acting policy "
        "exceeds this",
        unset="all epochs",
        above=0,
    )

    @property
    def may_stop_early(self) -> bool:
        """See `AlgorithmSettings.may_stop_early`."""
        return self.target_kl is not None

    def minibatch_size(self, agent_steps: int) -> int:
        """See `AlgorithmSettings.minibatch_size`."""
        return agent_steps // self.minibatches

    def fitted(
        self, simulators: int, given: Collection[str], *, is_recurrent: bool, has_pixels: bool
    ) -> Self:
        """See `AlgorithmSettings.fitted`: at most as many minibatches as an update can fill."""
        fitted = super().fitted(simulators, given, is_recurrent=is_recurrent, has_pixels=has_pixels)
        if "minibatches" in given:
            return fitted
        parts = simulators if is_recurrent else self.rollout_steps * simulators // self._least
        return replace(fitted, minibatches=max(1, min(self.minibatches, parts)))

    def check(self, simulators: int, *, is_recurrent: bool, is_serial: bool) -> None:
        """See `AlgorithmSettings.check`."""
        if is_recurrent and self.minibatches > simulators:
            raise UserError(
                f"minibatches {self.minibatches} is too many for {simulators} simulators: a "
                f"recurrent network's are whole simulators; use at most as many"
            )
        samples = self.rollout_steps * simulators
        if self.minibatches * self._least > samples:
            raise UserError(
                f"minibatches {self.minibatches} is too many for {samples} agent steps an update "
                f"(rollout_steps {self.rollout_steps} x simulators {simulators}): each needs "
                f"{self._least} or more"
            )

    @property
    def _least(self) -> int:
        """Return the least agent steps per minibatch: one alone has no standard deviation."""
        return 2 if self.normalize_advantages else 1


def default_simulators(kind: EnvKind) -> int:
    """Return the paper's numbers: 8 for Atari games, 1 for continuous control."""
    return 1 if kind == "continuous" else 8


def settings(kind: EnvKind) -> PPOSettings:
    """Return the values of Baselines' ppo2 for Atari and MuJoCo, the paper's but for details."""
    match kind:
        case "atari":
            return PPOSettings()
        case "discrete":
            return PPOSettings(
                epochs=10, clip_range=0.2, learning_rate=1e-3, anneal_clip_range=False
            )
        case "continuous":
            return PPOSettings(
                rollout_steps=2048,
                epochs=10,
                minibatches=32,
                clip_range=0.2,
                anneal_clip_range=False,
                learning_rate=3e-4,
                entropy_cost=0.0,
                normalize_observations=True,
                normalize_rewards=True,
            )


METHOD = Method(
    name="ppo",
    title="proximal policy optimisation",
    paper="Schulman et al. 2017, arXiv 1707.06347; values: OpenAI Baselines ppo2, 2017",
    sharing="nothing",
    default_learners=lambda cores: 1,
    default_simulators=default_simulators,
    settings=settings,
)

GALA_METHOD = replace(
    METHOD,
    name="gala-ppo",
    title="gossiping proximal policy optimisation learners",
    paper="Assran et al. 2019, arXiv 1906.04585; Schulman et al. 2017, arXiv 1707.06347",
    sharing="gossip",
    default_learners=one_per_core,
)

# Gradients are averaged over all learners in every minibatch's step.
ALLREDUCE_METHOD = replace(
    METHOD,
    name="ppo-allreduce",
    title="synchronous proximal policy optimisation replicas",
    paper="Stooke and Abbeel 2018, arXiv 1803.02811 (synchronous form); "
    "Schulman et al. 2017, arXiv 1707.06347",
    sharing="gradients",
    default_learners=one_per_core,
)

# Learners step one parameter vector in turn, chunk by chunk under locks.
ASYNC_METHOD = replace(
    METHOD,
    name="ppo-async",
    title="asynchronous proximal policy optimisation learners",
    paper="Stooke and Abbeel 2018, arXiv 1803.02811 (asynchronous form); "
    "Schulman et al. 2017, arXiv 1707.06347",
    sharing="locked-parameters",
    default_learners=one_per_core,
)
