"""A learner that makes one gradient step per trajectory, given a loss function."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.cuda_graphs import Captured
from gala_rl.flat import FlatParameters, flat_size
from gala_rl.learners.learner import Coupling, OnPolicyLearner, UpdateMetrics
from gala_rl.learners.optimizers import Optimizer, clip_grad_norm_, make_optimizer, state_size
from gala_rl.models.actor_critic import ActorCritic, Evaluation
from gala_rl.trajectory import Trajectory
from gala_rl.trajectory_source import never


class Loss(NamedTuple):
    """A loss and the terms that the metrics show.

    Attributes:
        total: scalar to be minimised.
        terms: scalars by metrics column; their gradients are not used.
    """

    total: Tensor
    terms: dict[str, Tensor]


LossFunction = Callable[[ActorCritic, Any, Trajectory], Loss]
"""The loss of a network on a trajectory, given the settings of the algorithm."""


class GradientStep:
    """Owns a network's parameters and its optimizer's state, and moves them down a gradient.

    Args:
        network: its parameters are moved into `flat`.
        settings: settings of the optimizer.
        coupling: what is shared with other learners; None: nothing.

    Attributes:
        state: [P + S] the parameters, followed by the optimizer's state.
        flat: all parameters, in the first part of `state`.
        optimizer: its state is the second part of `state`.
    """

    def __init__(
        self, network: nn.Module, settings: AlgorithmSettings, coupling: Coupling | None = None
    ) -> None:
        size = flat_size(network)
        device = next(network.parameters()).device
        self.state = torch.zeros(size + state_size(settings, size), device=device)
        self.flat = FlatParameters(network, self.state[:size])
        make = make_optimizer if coupling is None else coupling.make_optimizer
        self.optimizer = make(self.flat.values, settings, self.state[size:])
        self._coupling = coupling
        self._max_grad_norm = settings.max_grad_norm

    def __call__(
        self, loss: Tensor, learning_rate: float | Tensor, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Make one step down the gradient of a loss.

        Args:
            loss: a scalar.
            learning_rate: learning rate of this step.
            out: [P] where the new parameters go; default: in place.

        Returns:
            Euclidean norms of the gradient before clipping, and of the step: scalar tensors.
        """
        self.flat.set_grads(torch.autograd.grad(loss, self.flat.parameters))
        if self._coupling is not None:
            self._coupling.average(self.flat.grads)
        grad_norm = clip_grad_norm_(self.flat.grads, self._max_grad_norm)
        return grad_norm, self.optimizer.step(self.flat.grads, learning_rate, out)


class GradientLearner(OnPolicyLearner):
    """Makes one optimizer step per trajectory, down the gradient of a loss; see `Learner`.

    With its loss given, it is the `make_learner` of an algorithm.

    On a GPU a whole update is recorded as one CUDA graph and replayed, unless gradients or
    parameters are shared: that goes through the host's memory, which no graph can record.

    Args:
        network: its parameters are moved into `flat`.
        settings: settings of the algorithm.
        loss: the loss on a trajectory.
        initial_learning_rate: see `Learner`.
        seed: not used, since losses draw no random numbers.
        coupling: what is shared with other learners; None: nothing.
    """

    def __init__(
        self,
        network: ActorCritic,
        settings: AlgorithmSettings,
        *,
        loss: LossFunction,
        initial_learning_rate: float,
        seed: int = 0,
        coupling: Coupling | None = None,
    ) -> None:
        self._step = GradientStep(network, settings, coupling)
        self._loss = partial(loss, network, settings)
        self.state: Tensor = self._step.state
        self.flat: FlatParameters = self._step.flat
        self.optimizer: Optimizer = self._step.optimizer
        self.generator: torch.Generator | None = None
        self.initial_learning_rate = initial_learning_rate
        self.should_stop: Callable[[], bool] = never
        self._is_recorded = self.state.is_cuda and coupling is None
        self._learning_rate = torch.zeros((), device=self.state.device)
        self._captured: Captured[UpdateMetrics] | None = None
        self._captured_from: Trajectory | None = None

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """See `Learner.update`."""
        if out is not None and self.state.is_cuda:
            raise ValueError("on a GPU parameters are updated in place")
        if not self._is_recorded:
            return self._update(trajectory, learning_rate, out)
        if self._captured is None or self._captured_from is not trajectory:
            update = partial(self._update, trajectory, self._learning_rate, None)
            self._captured = Captured(update, self.state.device)
            self._captured_from = trajectory
        self._learning_rate.fill_(learning_rate)
        return self._captured()

    def _update(
        self, trajectory: Trajectory, learning_rate: float | Tensor, out: Tensor | None
    ) -> UpdateMetrics:
        loss = self._loss(trajectory)
        grad_norm, update_norm = self._step(loss.total, learning_rate, out)
        terms = {name: term.detach() for name, term in loss.terms.items()}
        return UpdateMetrics(grad_norm, update_norm, terms)


def evaluate(network: ActorCritic, trajectory: Trajectory) -> Evaluation:
    """Return log π(a|x), entropy and V(x) of a trajectory, each [T, B], with gradient."""
    recorded = None if trajectory.activations is None else trajectory.activations.flatten()
    evaluation = network.evaluate(
        trajectory.observations[:-1].flatten(0, 1),
        trajectory.actions.flatten(0, 1),
        trajectory.initial_state,
        trajectory.is_first[:-1],
        recorded,
    )
    log_probs, entropies, values = (x.view(trajectory.rewards.shape) for x in evaluation[:3])
    return Evaluation(log_probs, entropies, values, evaluation.state)
