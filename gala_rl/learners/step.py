"""From a loss to new parameters: gradient, clipping, one step of the optimiser."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gala_rl.flat import FlatParameters, flat_size
from gala_rl.optimizers import clip_grad_norm_, make_optimizer, state_size
from gala_rl.settings import AlgorithmSettings


class Norms(NamedTuple):
    """Euclidean norms, scalar tensors: of the gradient before clipping, and of the step."""

    grad: Tensor
    update: Tensor


class GradientStep:
    """Owns a model's parameters and its optimiser's state, and moves them down a gradient.

    Args:
        model: the network; its parameters are moved into `flat`.
        settings: of the optimiser.

    Attributes:
        state: [P + S] the parameters and, behind them, the optimiser's state.
        flat: all parameters, in the first part of `state`.
        optimizer: its state is the second part of `state`.
    """

    def __init__(self, model: nn.Module, settings: AlgorithmSettings) -> None:
        size = flat_size(model)
        device = next(model.parameters()).device
        self.state = torch.zeros(size + state_size(settings, size), device=device)
        self.flat = FlatParameters(model, self.state[:size])
        self.optimizer = make_optimizer(self.flat.values, settings, self.state[size:])
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
        grad_norm = clip_grad_norm_(self.flat.grads, self._max_grad_norm)
        return Norms(grad_norm, self.optimizer.step(self.flat.grads, learning_rate, out))
