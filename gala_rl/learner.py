"""The learner: one gradient step on one trajectory."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gala_rl.capture import Captured
from gala_rl.config import A2CSettings
from gala_rl.flat import FlatParameters, flat_size
from gala_rl.losses.actor_critic import ActorCriticLoss, actor_critic_loss
from gala_rl.losses.returns import n_step_returns
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.optimizers import RMSprop, clip_grad_norm_
from gala_rl.trajectory import Trajectory


class UpdateMetrics(NamedTuple):
    """What an update saw; scalar tensors, not yet read back to the host."""

    policy_loss: Tensor
    value_loss: Tensor
    entropy: Tensor
    grad_norm: Tensor
    update_norm: Tensor


class Learner:
    """Advantage actor-critic on whole rollouts.

    Args:
        model: the network; its parameters are moved into `flat`.
        settings: of the algorithm.

    Attributes:
        state: [2P] the parameters and, behind them, the optimiser's statistics.
        flat: all parameters, in the first half of `state`.
        optimizer: its statistics are the second half of `state`.
    """

    def __init__(self, model: ActorCritic, settings: A2CSettings) -> None:
        size = flat_size(model)
        self._device = next(model.parameters()).device
        self.state = torch.zeros(2 * size, device=self._device)
        self.flat = FlatParameters(model, self.state[:size])
        self.optimizer = RMSprop(self.flat.values, settings, self.state[size:])
        self._model = model
        self._settings = settings
        self._learning_rate = torch.zeros((), device=self._device)
        self._captured: Captured[UpdateMetrics] | None = None
        self._captured_from: Trajectory | None = None

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """One optimiser step on a rollout that was made with the present parameters.

        Args:
            trajectory: the rollout.
            learning_rate: of this update.
            out: [P] where the new parameters go; default: in place. Not on a GPU.
        """
        if not self.flat.values.is_cuda:
            return self._update(trajectory, learning_rate, out)
        if out is not None:
            raise ValueError("on a GPU parameters are updated in place")
        if self._captured is None or self._captured_from is not trajectory:
            update = partial(self._update, trajectory, self._learning_rate, None)
            self._captured, self._captured_from = Captured(update, self._device), trajectory
        self._learning_rate.fill_(learning_rate)
        return self._captured()

    def _update(
        self, trajectory: Trajectory, learning_rate: float | Tensor, out: Tensor | None
    ) -> UpdateMetrics:
        loss = self._loss(trajectory)
        self.flat.set_grads(torch.autograd.grad(loss.total, self.flat.parameters))
        grad_norm = clip_grad_norm_(self.flat.grads, self._settings.max_grad_norm)
        update_norm = self.optimizer.step(self.flat.grads, learning_rate, out)
        return UpdateMetrics(
            loss.policy.detach(), loss.value.detach(), loss.entropy.detach(), grad_norm, update_norm
        )

    def _loss(self, trajectory: Trajectory) -> ActorCriticLoss:
        settings = self._settings
        steps, simulators = trajectory.rewards.shape
        observations = trajectory.observations[:-1].flatten(0, 1)
        recorded = None if trajectory.activations is None else trajectory.activations.flatten()
        evaluation = self._model.evaluate(observations, trajectory.actions.flatten(0, 1), recorded)
        with torch.no_grad():
            bootstrap = self._model.values(trajectory.observations[-1])
        returns = n_step_returns(
            trajectory.rewards,
            trajectory.terminated,
            trajectory.truncated,
            trajectory.truncation_values,
            bootstrap,
            settings.discount,
        )
        return actor_critic_loss(
            log_probs=evaluation.log_probs.view(steps, simulators),
            entropies=evaluation.entropies.view(steps, simulators),
            values=evaluation.values.view(steps, simulators),
            returns=returns,
            value_cost=settings.value_cost,
            entropy_cost=settings.entropy_cost,
        )
