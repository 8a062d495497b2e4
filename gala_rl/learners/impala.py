"""IMPALA: one gradient step on rollouts of earlier policies, corrected by V-trace."""

import torch
from torch import Tensor

from gala_rl.learners.learner import UpdateMetrics
from gala_rl.learners.step import GradientStep
from gala_rl.losses.impala import impala_loss
from gala_rl.losses.vtrace import vtrace
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.trajectory import Trajectory


class ImpalaLearner:
    """V-trace actor-critic on whole rollouts with `log_probs`; see `Learner`.

    Only `truncation_values` are those of the policy that acted: the observation that they are
    values of is not in the trajectory.

    Args:
        model: the network; its parameters are moved into `flat`.
        settings: of the algorithm.
    """

    def __init__(self, model: ActorCritic, settings: ImpalaSettings) -> None:
        self._step = GradientStep(model, settings)
        self.state, self.flat = self._step.state, self._step.flat
        self.optimizer = self._step.optimizer
        self.generator: torch.Generator | None = None
        self._model = model
        self._settings = settings

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """One optimiser step; see `Learner.update`."""
        settings, acted = self._settings, trajectory.log_probs
        if acted is None:
            raise ValueError("V-trace needs log_probs of the policy that acted")
        steps, simulators = trajectory.rewards.shape
        evaluation = self._model.evaluate(
            trajectory.observations[:-1].flatten(0, 1),
            trajectory.actions.flatten(0, 1),
            past=trajectory.past(),
        )
        log_probs, entropies, values = (x.view(steps, simulators) for x in evaluation[:3])
        with torch.no_grad():
            bootstrap = self._model.values(
                trajectory.observations[-1], _last_state(evaluation.state, trajectory.begins)
            )
        log_ratios = log_probs.detach() - acted
        corrected = vtrace(
            log_ratios,
            trajectory.rewards,
            trajectory.terminated,
            trajectory.truncated,
            trajectory.truncation_values,
            values.detach(),
            bootstrap,
            settings.discount,
            clip_rho=settings.clip_rho,
            clip_c=settings.clip_c,
            clip_pg_rho=settings.clip_rho,
        )
        loss = impala_loss(
            log_probs=log_probs,
            entropies=entropies,
            values=values,
            targets=corrected.targets,
            advantages=corrected.advantages,
            value_cost=settings.value_cost,
            entropy_cost=settings.entropy_cost,
        )
        # The paper's loss is a sum over time and batch; its ε and its bound on the gradient are
        # of that size.
        norms = self._step(loss.total * (steps * simulators), learning_rate, out)
        rho = log_ratios.exp().clamp(max=settings.clip_rho).mean()
        policy, value, entropy = loss.policy.detach(), loss.value.detach(), loss.entropy.detach()
        details = {"clipped_rho": rho}
        return UpdateMetrics(policy, value, entropy, norms.grad, norms.update, details)


def _last_state(state: Tensor | None, begins: Tensor | None) -> Tensor | None:
    """The state [B, S] before the observations at which the rollout stopped, as it is now.

    Args:
        state: [B, S] after those before them, by the parameters that learn; None without state.
        begins: [T + 1, B] observations before which the state is zero.
    """
    if state is None or begins is None:
        return None
    return state.masked_fill(begins[-1].unsqueeze(-1), 0.0)
