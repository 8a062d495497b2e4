"""IMPALA: the actor-critic loss on rollouts of earlier policies, corrected by V-trace."""

from functools import partial

import torch

from gala_rl.learners.gradient_learner import GradientLearner, Loss, evaluate
from gala_rl.losses.impala import impala_loss
from gala_rl.losses.means import mean
from gala_rl.losses.vtrace import vtrace
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.trajectory import Trajectory


def vtrace_loss(network: ActorCritic, settings: ImpalaSettings, trajectory: Trajectory) -> Loss:
    """Return the loss of rollouts whose `log_probs` are those of the behaviour policy.

    `truncation_values` are those of the behaviour policy too, since the final observations are not
    in the trajectory.

    "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures",
    Espeholt et al. 2018, section 4.2.
    """
    if trajectory.log_probs is None:
        raise ValueError("V-trace needs log_probs of the behaviour policy")
    evaluation = evaluate(network, trajectory)
    log_probs, entropies, values = evaluation[:3]
    # The state before the last observations, computed with the current parameters.
    state = evaluation.state.masked_fill(trajectory.is_first[-1].unsqueeze(-1), 0.0)
    with torch.no_grad():
        bootstrap = network.values(trajectory.observations[-1], state)
    log_ratios = log_probs.detach() - trajectory.log_probs
    corrected = vtrace(
        log_ratios,
        trajectory.rewards,
        values.detach(),
        trajectory.boundaries(bootstrap),
        settings.discount,
        clip_rho=settings.clip_rho,
        clip_c=settings.clip_c,
        clip_pg_rho=settings.clip_rho,
    )
    weights = trajectory.weights()
    loss = impala_loss(
        log_probs=log_probs,
        entropies=entropies,
        values=values,
        targets=corrected.targets,
        advantages=corrected.advantages,
        value_cost=settings.value_cost,
        entropy_cost=settings.entropy_cost,
        weights=weights,
    )
    clipped_rho = mean(log_ratios.exp().clamp(max=settings.clip_rho), weights)
    # The paper's loss is a sum over time and batch, for which its bound on the gradient and its
    # ε are chosen.
    count = trajectory.agent_steps if weights is None else weights.sum()
    return Loss(loss.total * count, loss.terms() | {"clipped_rho": clipped_rho})


make_learner = partial(GradientLearner, loss=vtrace_loss)
