"""PPO, proximal policy optimisation: several epochs of clipped gradient steps on one rollout."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gala_rl.learners.gradient_learner import GradientStep
from gala_rl.learners.learner import Coupling, OnPolicyLearner, UpdateMetrics
from gala_rl.losses.advantages import generalized_advantages, normalized
from gala_rl.losses.ppo import PPOLoss, ppo_loss
from gala_rl.methods.ppo import PPOSettings
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.processes.heartbeat import beat
from gala_rl.trajectory import Trajectory
from gala_rl.trajectory_source import never

_STREAM = 1
"""Separates the random stream of updates from that of an actor with the same seed."""


class _Batch(NamedTuple):
    """N samples of a rollout, in any order; all but the first two are floats [N].

    `weights` is None if all samples are learned from.
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    weights: Tensor | None

    def at(self, rows: Tensor) -> "_Batch":
        """Return a copy of some of the samples."""
        return _Batch._make(None if x is None else x.index_select(0, rows) for x in self)


class _Minibatch(NamedTuple):
    """Samples of one gradient step: for a recurrent network [T * b] of b simulators.

    `state` [b, S] and `is_first` [T, b] are where their sequences begin; ignored without memory.
    """

    batch: _Batch
    state: Tensor
    is_first: Tensor


class PPOLearner(OnPolicyLearner):
    """Proximal policy optimisation; see `Learner`.

    "Proximal Policy Optimization Algorithms", Schulman et al. 2017, Algorithm 1: advantages and
    value targets are computed once, from the values at acting time; each epoch shuffles all
    samples and makes one step on each of its minibatches, whose sizes differ by one at most. A
    recurrent network is unrolled from the state that began the rollout, so its minibatches are
    whole simulators.

    Args:
        model: the network; its parameters are moved into `flat`.
        settings: settings of the algorithm.
        initial_learning_rate: learning rate at which the clip range is not yet annealed.
        seed: seed of the shuffling.
        coupling: what is shared with other learners; None: nothing.
    """

    def __init__(
        self,
        model: ActorCritic,
        settings: PPOSettings,
        initial_learning_rate: float,
        seed: int,
        coupling: Coupling | None = None,
    ) -> None:
        self._step = GradientStep(model, settings, coupling)
        self.state, self.flat = self._step.state, self._step.flat
        self.optimizer = self._step.optimizer
        stream = np.random.SeedSequence([seed, _STREAM]).generate_state(1, dtype=np.uint64)
        generator = torch.Generator(self.state.device).manual_seed(int(stream[0] >> 1))
        self.generator: torch.Generator | None = generator
        self._model = model
        self._settings = settings
        self.initial_learning_rate = initial_learning_rate
        self.should_stop: Callable[[], bool] = never
        self._before = torch.empty_like(self.flat.values)

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """Make several epochs of steps on a rollout collected with the current parameters."""
        settings = self._settings
        self._before.copy_(self.flat.values)
        batch = self._batch(trajectory)
        seen: list[Tensor] = []
        for epoch in range(settings.epochs):
            last = epoch == settings.epochs - 1
            seen += self._epoch(trajectory, batch, learning_rate, out if last else None)
            # Waits for the device; only if early stopping is enabled.
            if not last and (self.should_stop() or self._has_gone_too_far(seen)):
                if out is not None:
                    out.copy_(self.flat.values)
                break
        after = self.flat.values if out is None else out
        displacement = torch.sub(after, self._before, out=self._before)
        every = torch.stack(seen)
        policy, value, entropy, grad_norm = every[:, :4].mean(0).unbind()
        approx_kl, clip_fraction = every[-settings.minibatches :, 4:].mean(0).unbind()
        losses = {
            "policy_loss": policy,
            "value_loss": value,
            "entropy": entropy,
            "approx_kl": approx_kl,
            "clip_fraction": clip_fraction,
            "explained_variance": _explained_variance(batch),
        }
        update_norm = torch.linalg.vector_norm(displacement)
        return UpdateMetrics(grad_norm, update_norm, losses)

    def _batch(self, trajectory: Trajectory) -> _Batch:
        """Return all samples with advantages and value targets, computed once per update."""
        settings, (log_probs, values) = self._settings, _behaviour(trajectory)
        with torch.no_grad():
            bootstrap = self._model.values(trajectory.observations[-1], trajectory.final_state)
        advantages = generalized_advantages(
            trajectory.rewards,
            values,
            trajectory.boundaries(bootstrap),
            settings.discount,
            settings.gae_lambda,
        )
        weights = trajectory.weights()
        return _Batch(
            observations=trajectory.observations[:-1].flatten(0, 1),
            actions=trajectory.actions.flatten(0, 1),
            log_probs=log_probs.flatten(),
            values=values.flatten(),
            advantages=advantages.flatten(),
            returns=(advantages + values).flatten(),
            weights=None if weights is None else weights.flatten(),
        )

    def _epoch(
        self, trajectory: Trajectory, batch: _Batch, learning_rate: float, out: Tensor | None
    ) -> list[Tensor]:
        """Make a step on each minibatch, the last to `out`; returns the metrics of each step."""
        last = self._settings.minibatches - 1
        return [
            self._descend(minibatch, learning_rate, out if number == last else None)
            for number, minibatch in enumerate(self._minibatches(trajectory, batch))
        ]

    def _minibatches(self, trajectory: Trajectory, batch: _Batch) -> Iterator[_Minibatch]:
        (steps, simulators), device = trajectory.rewards.shape, self.state.device
        is_recurrent = self._model.state_size > 0
        state, is_first = trajectory.initial_state, trajectory.is_first[:-1]
        count = simulators if is_recurrent else steps * simulators
        order = torch.randperm(count, generator=self.generator, device=device)
        for part in order.tensor_split(self._settings.minibatches):
            if is_recurrent:
                rows = torch.arange(steps, device=device).unsqueeze(-1) * simulators + part
                yield _Minibatch(batch.at(rows.flatten()), state[part], is_first[:, part])
            else:
                yield _Minibatch(batch.at(part), state, is_first)

    def _descend(self, minibatch: _Minibatch, learning_rate: float, out: Tensor | None) -> Tensor:
        loss = self._loss(minibatch, learning_rate)
        grad_norm, _ = self._step(loss.total, learning_rate, out)
        beat()
        terms = (loss.policy, loss.value, loss.entropy, grad_norm)
        return torch.stack([*terms, loss.approx_kl, loss.clip_fraction]).detach()

    def _loss(self, minibatch: _Minibatch, learning_rate: float) -> PPOLoss:
        settings, (batch, state, is_first) = self._settings, minibatch
        annealing = learning_rate / self.initial_learning_rate
        advantages, weights = batch.advantages, batch.weights
        if settings.normalize_advantages:
            advantages = normalized(advantages, weights)
        evaluation = self._model.evaluate(batch.observations, batch.actions, state, is_first)
        return ppo_loss(
            log_probs=evaluation.log_probs,
            old_log_probs=batch.log_probs,
            entropies=evaluation.entropies,
            values=evaluation.values,
            old_values=batch.values,
            advantages=advantages,
            returns=batch.returns,
            clip_range=settings.clip_range * (annealing if settings.anneal_clip_range else 1.0),
            value_clip_range=settings.value_clip_range,
            value_cost=settings.value_cost,
            entropy_cost=settings.entropy_cost,
            weights=weights,
        )

    def _has_gone_too_far(self, seen: list[Tensor]) -> bool:
        target = self._settings.target_kl
        if target is None:
            return False
        kls = [vector[4] for vector in seen[-self._settings.minibatches :]]
        return float(torch.stack(kls).mean()) > target


def _behaviour(trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    """Return log π and V of the behaviour policy, each [T, B]."""
    if trajectory.log_probs is None or trajectory.values is None:
        raise ValueError("PPO needs log_probs and values of the behaviour policy")
    return trajectory.log_probs, trajectory.values


def _explained_variance(batch: _Batch) -> Tensor:
    """1 - Var(R - V) / Var(R), or 0 where all returns are equal: nothing to explain."""
    values, returns = batch.values, batch.returns
    if batch.weights is not None:
        values, returns = values[batch.weights > 0], returns[batch.weights > 0]
    there, left = returns.var(correction=0), (returns - values).var(correction=0)
    return torch.where(there > 0, 1.0 - left / there, 0.0)


def make_learner(
    network: ActorCritic,
    settings: PPOSettings,
    *,
    initial_learning_rate: float,
    seed: int,
    coupling: Coupling | None = None,
) -> PPOLearner:
    """Return a PPO learner; see `gala_rl.learners.learner.make_learner`."""
    return PPOLearner(network, settings, initial_learning_rate, seed, coupling)
