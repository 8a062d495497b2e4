"""Advantage actor-critic: one gradient step on one rollout of the present policy."""

from functools import partial

import torch
from torch import Tensor

from gala_rl.cuda_graphs import Captured
from gala_rl.learners.learner import UpdateMetrics
from gala_rl.learners.step import Coupling, GradientStep
from gala_rl.losses.actor_critic import ActorCriticLoss, actor_critic_loss
from gala_rl.losses.returns import n_step_returns
from gala_rl.methods.a2c import A2CSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.trajectory import Trajectory


class A2CLearner:
    """Advantage actor-critic on whole rollouts; see `Learner`.

    Args:
        model: the network; its parameters are moved into `flat`.
        settings: of the algorithm.
        coupling: what is shared with other learners; None: nothing.
    """

    def __init__(
        self, model: ActorCritic, settings: A2CSettings, coupling: Coupling | None = None
    ) -> None:
        self._step = GradientStep(model, settings, coupling)
        self.state, self.flat = self._step.state, self._step.flat
        self.optimizer = self._step.optimizer
        self.generator: torch.Generator | None = None
        self._model = model
        self._settings = settings
        # What is shared goes through the host's memory: no graph can record that.
        self._is_recorded = self.state.is_cuda and coupling is None
        self._device = self.state.device
        self._learning_rate = torch.zeros((), device=self._device)
        self._captured: Captured[UpdateMetrics] | None = None
        self._captured_from: Trajectory | None = None

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """One optimiser step on a rollout that was made with the present parameters."""
        if out is not None and self.state.is_cuda:
            raise ValueError("on a GPU parameters are updated in place")
        if not self._is_recorded:
            return self._update(trajectory, learning_rate, out)
        if self._captured is None or self._captured_from is not trajectory:
            update = partial(self._update, trajectory, self._learning_rate, None)
            self._captured, self._captured_from = Captured(update, self._device), trajectory
        self._learning_rate.fill_(learning_rate)
        return self._captured()

    def _update(
        self, trajectory: Trajectory, learning_rate: float | Tensor, out: Tensor | None
    ) -> UpdateMetrics:
        loss = self._loss(trajectory)
        norms = self._step(loss.total, learning_rate, out)
        policy, value, entropy = loss.policy.detach(), loss.value.detach(), loss.entropy.detach()
        return UpdateMetrics(policy, value, entropy, norms.grad, norms.update, {})

    def _loss(self, trajectory: Trajectory) -> ActorCriticLoss:
        settings = self._settings
        steps, simulators = trajectory.rewards.shape
        observations = trajectory.observations[:-1].flatten(0, 1)
        recorded = None if trajectory.activations is None else trajectory.activations.flatten()
        evaluation = self._model.evaluate(
            observations, trajectory.actions.flatten(0, 1), recorded, trajectory.past()
        )
        with torch.no_grad():
            bootstrap = self._model.values(trajectory.observations[-1], trajectory.final_state)
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
