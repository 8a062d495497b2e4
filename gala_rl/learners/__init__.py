"""Learners: each turns trajectories into better parameters by the rule of one algorithm."""

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.learners.a2c import A2CLearner as A2CLearner
from gala_rl.learners.impala import ImpalaLearner
from gala_rl.learners.learner import Learner as Learner
from gala_rl.learners.learner import UpdateMetrics as UpdateMetrics
from gala_rl.learners.ppo import PPOLearner as PPOLearner
from gala_rl.learners.step import Coupling as Coupling
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.ppo import PPOSettings
from gala_rl.models.actor_critic import ActorCritic


def make_learner(
    model: ActorCritic,
    settings: AlgorithmSettings,
    *,
    initial_learning_rate: float,
    seed: int,
    coupling: Coupling | None = None,
) -> Learner:
    """The learner of an algorithm's settings, which takes over the model's parameters.

    Args:
        model: the network.
        settings: which algorithm, and how.
        initial_learning_rate: of the run's first update.
        seed: of what updates draw at random.
        coupling: what is shared with other learners within each gradient step; None: nothing.
    """
    match settings:
        case A2CSettings():
            return A2CLearner(model, settings, coupling)
        case ImpalaSettings():
            return ImpalaLearner(model, settings)
        case PPOSettings():
            return PPOLearner(model, settings, initial_learning_rate, seed, coupling)
        case _:
            raise TypeError(f"no learner for {type(settings).__name__}")
