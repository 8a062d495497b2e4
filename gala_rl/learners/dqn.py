"""DQN: double, duelling, n-step Q-learning on transitions; categorical as an option."""

import torch
from torch import Tensor

from gala_rl.learners.learner import Coupling, RolloutSource
from gala_rl.learners.replay_learner import ReplayLearner, ReplayLoss
from gala_rl.losses.categorical import categorical_loss, chosen_distributions, projected
from gala_rl.losses.q_learning import double_q_values, q_learning_loss
from gala_rl.methods.dqn import DQNSettings
from gala_rl.models.q_network import QNetwork
from gala_rl.replay import TransitionBatch, TransitionReplay

_HUBER = 1.0
"""Size from which errors are clipped, as published."""


def dqn_loss(
    network: QNetwork, target: QNetwork, settings: DQNSettings, batch: TransitionBatch
) -> ReplayLoss:
    """Return the loss of a batch of transitions.

    "Accelerated Methods for Deep Reinforcement Learning", Stooke and Abbeel 2018, with double
    Q-learning, duelling heads, n-step returns and priorities as in "Rainbow", Hessel et al. 2018.
    """
    if network.atoms is not None:
        return _categorical_loss(network, target, network.atoms, batch)
    q_values = network(batch.observations)
    with torch.no_grad():
        next_values = double_q_values(
            network(batch.next_observations), target(batch.next_observations)
        )
    loss = q_learning_loss(
        q_values=q_values,
        actions=batch.actions,
        returns=batch.returns,
        discounts=batch.discounts,
        next_values=next_values,
        weights=batch.weights,
        huber=_HUBER,
    )
    errors = loss.td_errors
    return ReplayLoss(loss.total, errors, errors.abs(), q_values.detach(), batch.keys, len(errors))


def _categorical_loss(
    network: QNetwork, target: QNetwork, atoms: Tensor, batch: TransitionBatch
) -> ReplayLoss:
    log_probs = network.log_probs(batch.observations)
    with torch.no_grad():
        best = network(batch.next_observations).argmax(dim=-1)
        probabilities = target.log_probs(batch.next_observations).exp()
        targets = projected(
            chosen_distributions(probabilities, best), batch.returns, batch.discounts, atoms
        )
        q_values = log_probs.exp() @ atoms
        errors = targets @ atoms - (chosen_distributions(log_probs, batch.actions).exp() @ atoms)
    loss = categorical_loss(
        log_probs=log_probs, actions=batch.actions, targets=targets, weights=batch.weights
    )
    return ReplayLoss(loss.total, errors, loss.errors, q_values, batch.keys, len(errors))


def make_learner(
    network: QNetwork,
    settings: DQNSettings,
    *,
    initial_learning_rate: float,
    seed: int,
    source: RolloutSource,
    coupling: Coupling | None = None,
) -> ReplayLearner:
    """Return a learner of transitions; see `gala_rl.learners.learner.make_learner`."""
    replay = settings.replay(
        source.simulators, source.observation, frame_stack=source.frame_stack, state_size=0
    )
    return ReplayLearner(
        network,
        settings,
        TransitionReplay(replay),
        dqn_loss,
        initial_learning_rate=initial_learning_rate,
        seed=seed,
        coupling=coupling,
    )
