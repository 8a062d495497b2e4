"""Optimisers on flat vectors, in the forms that the papers' code bases use."""

from typing import Protocol

import torch
from torch import Tensor

from gala_rl.settings import AlgorithmSettings

_TINY = torch.finfo(torch.float32).tiny
_BLOCK = 1 << 16
"""Floats a thread. On a CPU all operations on one block follow one another while it is in the
cache, so that the vectors come from memory once and not six times."""


def clip_grad_norm_(grads: Tensor, max_norm: float) -> Tensor:
    """Scale a gradient vector in place so that its Euclidean norm is at most `max_norm`.

    Args:
        grads: [P].
        max_norm: largest norm left untouched.

    Returns:
        The norm before clipping, a scalar tensor (no synchronisation with the host).
    """
    norm: Tensor = torch.linalg.vector_norm(grads)
    grads.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


class Optimizer(Protocol):
    """Steps a vector of parameters [P] along gradients [P].

    Attributes:
        state: [S] everything it remembers, in one vector.
    """

    state: Tensor

    def step(
        self, grads: Tensor, learning_rate: float | Tensor, out: Tensor | None = None
    ) -> Tensor:
        """One update of the parameters.

        Args:
            grads: [P], already clipped.
            learning_rate: of this update; a scalar tensor may change between replays of a CUDA
                graph.
            out: [P] where the new parameters go; default: in place.

        Returns:
            Euclidean norm of the step from the old parameters to the new, a scalar tensor.
        """


def state_size(settings: AlgorithmSettings, size: int) -> int:
    """S, the length of the state of the optimiser of P parameters."""
    return size


def make_optimizer(parameters: Tensor, settings: AlgorithmSettings, memory: Tensor) -> Optimizer:
    """The optimiser of these settings.

    Args:
        parameters: [P], changed by its steps.
        settings: which, and of what kind.
        memory: [S] where to keep its state.
    """
    return RMSprop(parameters, settings, memory)


class RMSprop:
    """x ← x - lr · g / denominator, with s ← decay · s + (1 - decay) · g².

    PyTorch's form (`rmsprop`, GALA's release): s starts at 0, denominator √s + ε.
    TensorFlow's form (`rmsprop-tf`, OpenAI Baselines): s starts at 1, denominator √(s + ε).
    They differ most in the first few hundred updates, when PyTorch's steps are far larger.

    Args:
        parameters: [P] x, changed in place.
        settings: form, decay and ε.
        memory: [P] where to keep s; default: new memory.

    Attributes:
        state: [P] s.
    """

    def __init__(
        self, parameters: Tensor, settings: AlgorithmSettings, memory: Tensor | None = None
    ) -> None:
        self._decay = settings.rmsprop_decay
        self._epsilon = settings.rmsprop_epsilon
        self._epsilon_inside = settings.optimizer == "rmsprop-tf"
        self.state = torch.empty_like(parameters) if memory is None else memory
        self.state.fill_(1.0 if self._epsilon_inside else 0.0)
        self._parameters = parameters
        block = _BLOCK * torch.get_num_threads()
        self._block = parameters.numel() if parameters.is_cuda else block
        self._denominator = torch.empty_like(parameters[: self._block])

    def step(
        self, grads: Tensor, learning_rate: float | Tensor, out: Tensor | None = None
    ) -> Tensor:
        """See `Optimizer`."""
        target = self._parameters if out is None else out
        vectors = (self._parameters, self.state, grads, target)
        count = -(-grads.numel() // self._block)
        blocks = [vector.chunk(count) for vector in vectors]
        squares = []
        for x, square_average, g, result in zip(*blocks, strict=True):
            square_average.mul_(self._decay).addcmul_(g, g, value=1.0 - self._decay)
            root = self._root(square_average)
            if not isinstance(learning_rate, Tensor):
                # The operation of PyTorch's own RMSprop: the same, bit for bit.
                torch.addcdiv(x, g, root, value=-learning_rate, out=result)
            direction = torch.div(g, root, out=root)
            squares.append(torch.dot(direction, direction))
            if isinstance(learning_rate, Tensor):
                torch.sub(x, direction.mul_(learning_rate), out=result)
        return torch.stack(squares).sum().sqrt() * learning_rate

    def _root(self, square_average: Tensor) -> Tensor:
        """The denominator for one block."""
        root = self._denominator[: square_average.numel()]
        if self._epsilon_inside:
            return torch.add(square_average, self._epsilon, out=root).sqrt_()
        # The root of zero or of a subnormal number (dead units) takes ten times as long; the
        # smallest normal number instead is lost in the sum with ε.
        return torch.clamp(square_average, min=_TINY, out=root).sqrt_().add_(self._epsilon)
