"""Gradients of a study: those of all learners' losses at once, a row per learner.

Axes: M = learners of all seeds, P = parameters, T = agent steps of a rollout, B = simulators of one
learner, N = samples. The losses are those of `gala_rl.losses`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from gala_lab.study.stacked_network import StackedNetwork
from gala_rl.losses.actor_critic import actor_critic_loss
from gala_rl.losses.advantages import generalized_advantages, normalized
from gala_rl.losses.ppo import ppo_loss
from gala_rl.losses.returns import n_step_returns
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.ppo import PPOSettings
from gala_rl.models.policies import categorical_log_prob_and_entropy
from gala_rl.trajectory import Trajectory


class Gradients(NamedTuple):
    """Gradients of M losses, and the losses.

    Attributes:
        losses: [M] losses of the whole batches.
        mean: [M, P] gradients of the whole batches.
        half_difference: [M, P] half the difference of the gradients of two half-batches; its
            square estimates the variance of `mean`. None unless requested.
    """

    losses: Tensor
    mean: Tensor
    half_difference: Tensor | None


class Samples(NamedTuple):
    """Inputs of losses, each [M, N, ...]; `weights` is 0 for a sample that is not learned from."""

    observations: Tensor
    actions: Tensor
    returns: Tensor
    advantages: Tensor
    log_probs: Tensor
    values: Tensor
    weights: Tensor

    def at(self, indices: Tensor) -> "Samples":
        """Return n samples per learner, by their indices [M, n]."""
        learners = torch.arange(len(indices)).unsqueeze(-1)
        return Samples._make(x[learners, indices] for x in self)

    def part(self, indices: slice) -> "Samples":
        """Return a slice of every learner's samples."""
        return Samples._make(x[:, indices] for x in self)


Loss = Callable[[Tensor, Tensor, Samples], Tensor]
"""Loss of one learner, a function of logits [N, A], values [N] and samples [N, ...]."""


def samples_of(
    trajectory: Trajectory, bootstrap: Tensor, settings: A2CSettings | PPOSettings, learners: int
) -> Samples:
    """Return the T * B samples of each learner, ordered by simulator.

    Args:
        trajectory: rollout of M * B simulators.
        bootstrap: [M * B] V(x_T).
        settings: settings of the algorithm.
        learners: M.
    """
    boundaries, values = trajectory.boundaries(bootstrap), trajectory.values
    if isinstance(settings, PPOSettings):
        assert values is not None
        discounts = settings.discount, settings.gae_lambda
        advantages = generalized_advantages(trajectory.rewards, values, boundaries, *discounts)
        returns = advantages + values
    else:
        returns = n_step_returns(trajectory.rewards, boundaries, settings.discount)
        advantages = torch.zeros_like(returns)
    unused = torch.zeros_like(returns)
    weights = trajectory.weights()
    parts = (
        trajectory.observations[:-1],
        trajectory.actions,
        returns,
        advantages,
        unused if trajectory.log_probs is None else trajectory.log_probs,
        unused if values is None else values,
        torch.ones_like(returns) if weights is None else weights,
    )
    # [T, M * B, ...] → [M, B * T, ...]
    return Samples._make(x.transpose(0, 1).reshape(learners, -1, *x.shape[2:]) for x in parts)


def a2c_loss(settings: A2CSettings) -> Loss:
    """Return the loss of A2C."""

    def loss(logits: Tensor, values: Tensor, samples: Samples) -> Tensor:
        log_probs, entropies = categorical_log_prob_and_entropy(logits, samples.actions)
        return actor_critic_loss(
            log_probs=log_probs,
            entropies=entropies,
            values=values,
            returns=samples.returns,
            value_cost=settings.value_cost,
            entropy_cost=settings.entropy_cost,
            weights=samples.weights,
        ).total

    return loss


def proximal_loss(settings: PPOSettings, annealing: float) -> Loss:
    """Return the loss of PPO on a minibatch.

    Args:
        settings: settings of the algorithm.
        annealing: the learning rate, relative to that at the start.
    """
    clip_range = settings.clip_range * (annealing if settings.anneal_clip_range else 1.0)

    def loss(logits: Tensor, values: Tensor, samples: Samples) -> Tensor:
        log_probs, entropies = categorical_log_prob_and_entropy(logits, samples.actions)
        advantages = samples.advantages
        if settings.normalize_advantages:
            advantages = normalized(advantages, samples.weights)
        return ppo_loss(
            log_probs=log_probs,
            old_log_probs=samples.log_probs,
            entropies=entropies,
            values=values,
            old_values=samples.values,
            advantages=advantages,
            returns=samples.returns,
            clip_range=clip_range,
            value_clip_range=settings.value_clip_range,
            value_cost=settings.value_cost,
            entropy_cost=settings.entropy_cost,
            weights=samples.weights,
        ).total

    return loss


def gradients_of(
    network: StackedNetwork, parameters: Tensor, samples: Samples, loss: Loss, *, halves: bool
) -> Gradients:
    """Return gradients of each learner's loss with respect to its own parameters.

    Args:
        network: evaluates all learners.
        parameters: [M, P].
        samples: samples of all learners.
        loss: the loss of one learner.
        halves: whether to return `half_difference`. The halves are the first and the last half
            of the samples: of a rollout, half of the simulators.
    """
    leaves = {
        name: part.detach().requires_grad_() for name, part in network.views(parameters).items()
    }
    logits, values = network(leaves, samples.observations)

    def losses_on(part: slice) -> Tensor:
        return vmap(loss)(logits[:, part], values[:, part], samples.part(part))

    def gradient(losses: Tensor, *, again: bool) -> Tensor:
        # Rows do not depend on each other: the gradient of the sum has each row's own.
        grads = torch.autograd.grad(losses.sum(), list(leaves.values()), retain_graph=again)
        return torch.cat([grad.flatten(1) for grad in grads], dim=1)

    if not halves:
        losses = losses_on(slice(None))
        return Gradients(losses.detach(), gradient(losses, again=False), None)
    middle = samples.returns.shape[1] // 2
    first, second = losses_on(slice(0, middle)), losses_on(slice(middle, None))
    one, other = gradient(first, again=True), gradient(second, again=False)
    losses = (first + second).detach() / 2
    return Gradients(losses, (one + other) / 2, (one - other) / 2)
