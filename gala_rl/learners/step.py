"""From a loss to new parameters: gradient, clipping, one step of the optimiser."""

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.flat import FlatParameters, flat_size
from gala_rl.learners.optimizers import Optimizer, clip_grad_norm_, make_optimizer, state_size


class Norms(NamedTuple):
    """Euclidean norms, scalar tensors: of the gradient before clipping, and of the step."""

    grad: Tensor
    update: Tensor


class Coupling(Protocol):
    """What a learner shares with others within each of its gradient steps, and right after."""

    def average(self, grads: Tensor) -> None:
        """What becomes of the gradient [P], in place, before it is clipped."""

    def make_optimizer(
        self, parameters: Tensor, settings: AlgorithmSettings, memory: Tensor
    ) -> Optimizer:
        """Who makes the step, as `gala_rl.learners.optimizers.make_optimizer`."""

    def counting(self, moments: Tensor) -> AbstractContextManager[None]:
        """Within it a learner counts a rollout into its running moments [M], for all others too."""


class GradientStep:
    """Owns a model's parameters and its optimiser's state, and moves them down a gradient.

    Args:
        model: the network; its parameters are moved into `flat`.
        settings: of the optimiser.
        coupling: what is shared with other learners; None: nothing.

    Attributes:
        state: [P + S] the parameters and, behind them, the optimiser's state.
        flat: all parameters, in the first part of `state`.
        optimizer: its state is the second part of `state`.
    """

    def __init__(
        self, model: nn.Module, settings: AlgorithmSettings, coupling: Coupling | None = None
    ) -> None:
        size = flat_size(model)
        device = next(model.parameters()).device
        self.state = torch.zeros(size + state_size(settings, size), device=device)
        self.flat = FlatParameters(model, self.state[:size])
        make = make_optimizer if coupling is None else coupling.make_optimizer
        self.optimizer = make(self.flat.values, settings, self.state[size:])
        self._coupling = coupling
        self._max_grad_norm = settings.max_grad_norm

    def __call__(
        self, loss: Tensor, learning_rate: float | Tensor, out: Tensor | None = None
    ) -> Norms:
        """One step down the gradient of a loss.

        Args:
            loss: a scalar.
            learning_rate: of this step.
            out: [P] where the new parameters go; default: in place.
        """
        self.flat.set_grads(torch.autograd.grad(loss, self.flat.parameters))
        if self._coupling is not None:
            self._coupling.average(self.flat.grads)
        grad_norm = clip_grad_norm_(self.flat.grads, self._max_grad_norm)
        return Norms(grad_norm, self.optimizer.step(self.flat.grads, learning_rate, out))
