"""A2C: the advantage actor-critic loss on a rollout of the current policy."""

from functools import partial

import torch

from gala_rl.learners.gradient_learner import GradientLearner, Loss, evaluate
from gala_rl.losses.actor_critic import actor_critic_loss
from gala_rl.losses.returns import n_step_returns
from gala_rl.methods.a2c import A2CSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.trajectory import Trajectory


def a2c_loss(network: ActorCritic, settings: A2CSettings, trajectory: Trajectory) -> Loss:
    """Return the loss of a rollout that was collected with the current parameters.

    "Asynchronous Methods for Deep Reinforcement Learning", Mnih et al. 2016, in its synchronous
    form: n-step returns, each bootstrapped at the end of the rollout.
    """
    evaluation = evaluate(network, trajectory)
    with torch.no_grad():
        bootstrap = network.values(trajectory.observations[-1], trajectory.final_state)
    returns = n_step_returns(
        trajectory.rewards, trajectory.boundaries(bootstrap), settings.discount
    )
    loss = actor_critic_loss(
        log_probs=evaluation.log_probs,
        entropies=evaluation.entropies,
        values=evaluation.values,
        returns=returns,
        value_cost=settings.value_cost,
        entropy_cost=settings.entropy_cost,
        weights=trajectory.weights(),
    )
    return Loss(loss.total, loss.terms())


make_learner = partial(GradientLearner, loss=a2c_loss)
