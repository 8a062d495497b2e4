"""Optimizers on flat vectors: RMSprop in two forms and Adam, as in the papers' code bases."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.flat import ALIGNMENT

_TINY = torch.finfo(torch.float32).tiny
_BETA_1, _BETA_2 = 0.9, 0.999
"""β₁ and β₂ of Adam, as in its paper."""
_BLOCK = 1 << 16
"""Floats per thread and block. On a CPU, all operations on a block are done while it is in the
cache, so that vectors are read from memory once instead of six times."""


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
    """Updates a vector of parameters [P] by gradients [P].

    Attributes:
        state: [S] its whole state, in one vector.
    """

    state: Tensor

    def step(
        self, grads: Tensor, learning_rate: float | Tensor, out: Tensor | None = None
    ) -> Tensor:
        """Update the parameters once.

        Args:
            grads: [P], already clipped.
            learning_rate: of this update; a scalar tensor may change between replays of a CUDA
                graph.
            out: [P] where the new parameters go; default: in place.

        Returns:
            Euclidean norm of the step from the old parameters to the new, a scalar tensor.
        """


def state_size(settings: AlgorithmSettings, size: int) -> int:
    """Return S, the length of the optimizer's state for P parameters."""
    return 2 * size + ALIGNMENT if settings.optimizer == "adam" else size


def make_optimizer(
    parameters: Tensor, settings: AlgorithmSettings, memory: Tensor, *, fresh: bool = True
) -> Optimizer:
    """Build the optimizer of these settings.

    Args:
        parameters: [P], changed by its steps.
        settings: which optimizer, with its decay and ε.
        memory: [S] for its state.
        fresh: whether to begin with a new state, rather than with the one in `memory`.
    """
    if settings.optimizer == "adam":
        return Adam(parameters, settings, memory, fresh=fresh)
    return RMSprop(parameters, settings, memory, fresh=fresh)


class RMSprop:
    """x ← x - lr · g / denominator, with s ← decay · s + (1 - decay) · g².

    PyTorch's form (`rmsprop`, GALA's release): s starts at 0, denominator √s + ε.
    TensorFlow's form (`rmsprop-tf`, OpenAI Baselines): s starts at 1, denominator √(s + ε).
    They differ most in the first few hundred updates, when PyTorch's steps are far larger.

    Args:
        parameters: [P] x, changed in place.
        settings: form, decay and ε.
        memory: [P] for s; default: new memory.
        fresh: whether to initialise s, rather than to use the s in `memory`.

    Attributes:
        state: [P] s.
    """

    def __init__(
        self,
        parameters: Tensor,
        settings: AlgorithmSettings,
        memory: Tensor | None = None,
        *,
        fresh: bool = True,
    ) -> None:
        self._decay = settings.rmsprop_decay
        self._epsilon = settings.rmsprop_epsilon
        self._epsilon_inside = settings.optimizer == "rmsprop-tf"
        self.state = torch.empty_like(parameters) if memory is None else memory
        if fresh:
            self.state.fill_(1.0 if self._epsilon_inside else 0.0)
        self._parameters = parameters
        self._block = _block_size(parameters)
        self._denominator = torch.empty_like(parameters[: self._block])

    def step(
        self, grads: Tensor, learning_rate: float | Tensor, out: Tensor | None = None
    ) -> Tensor:
        """See `Optimizer`."""
        target = self._parameters if out is None else out
        squares = []
        for x, square_average, g, result in _blocks(
            self._block, self._parameters, self.state, grads, target
        ):
            square_average.mul_(self._decay).addcmul_(g, g, value=1.0 - self._decay)
            squares.append(_descend(x, g, self._root(square_average), learning_rate, result))
        return _total(squares).sqrt() * learning_rate

    def _root(self, square_average: Tensor) -> Tensor:
        """Return the denominator for one block."""
        root = self._denominator[: square_average.numel()]
        if self._epsilon_inside:
            return torch.add(square_average, self._epsilon, out=root).sqrt_()
        # The root of zero or of a subnormal number (dead units) takes ten times as long; the
        # smallest normal number instead is lost in the sum with ε.
        return torch.clamp(square_average, min=_TINY, out=root).sqrt_().add_(self._epsilon)


class Adam:
    """x ← x - lr · m̂ / (√v̂ + ε), with m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g².

    At step n, m̂ = m / (1 - β₁ⁿ) and v̂ = v / (1 - β₂ⁿ); β₁ = 0.9, β₂ = 0.999.

    "Adam: A Method for Stochastic Optimization", Kingma and Ba 2015, Algorithm 1.

    Args:
        parameters: [P] x, changed in place.
        settings: ε.
        memory: [2 P + 16] for the state; default: new memory.
        fresh: whether to initialise the state, rather than to use the one in `memory`.

    Attributes:
        state: [2 P + 16] m, v, n and zeros. Learners that average their states average n too. The
            bias corrections 1 - βⁿ at the mean n are near the mean of theirs, and all near 1 after
            some thousands of steps.
    """

    def __init__(
        self,
        parameters: Tensor,
        settings: AlgorithmSettings,
        memory: Tensor | None = None,
        *,
        fresh: bool = True,
    ) -> None:
        size = parameters.numel()
        self._epsilon = settings.adam_epsilon
        self.state = parameters.new_empty(2 * size + ALIGNMENT) if memory is None else memory
        if fresh:
            self.state.zero_()
        self._mean, self._square_average = self.state[:size], self.state[size : 2 * size]
        self._count = self.state[2 * size]
        self._parameters = parameters
        self._block = _block_size(parameters)
        self._denominator = torch.empty_like(parameters[: self._block])

    def step(
        self, grads: Tensor, learning_rate: float | Tensor, out: Tensor | None = None
    ) -> Tensor:
        """See `Optimizer`."""
        self._count.add_(1.0)
        # In double precision, as PyTorch; on a GPU without a wait for it.
        count = self._count.double() if self._count.is_cuda else float(self._count)
        mean_there, square_there = 1.0 - _BETA_1**count, 1.0 - _BETA_2**count
        rate = learning_rate / mean_there
        target = self._parameters if out is None else out
        squares = []
        for x, mean, square_average, g, result in _blocks(
            self._block, self._parameters, self._mean, self._square_average, grads, target
        ):
            mean.lerp_(g, 1.0 - _BETA_1)
            square_average.mul_(_BETA_2).addcmul_(g, g, value=1.0 - _BETA_2)
            for average in (mean, square_average):
                # Averages of dead units would become subnormal and stay so; every operation on
                # subnormal numbers takes thirty times as long.
                torch.hardshrink(average, _TINY, out=average)
            root = self._denominator[: mean.numel()]
            torch.clamp(square_average, min=_TINY, out=root).sqrt_()
            root.div_(square_there**0.5).add_(self._epsilon)
            squares.append(_descend(x, mean, root, rate, result))
        return _total(squares).sqrt() * rate


def _block_size(parameters: Tensor) -> int:
    return parameters.numel() if parameters.is_cuda else _BLOCK * torch.get_num_threads()


def _blocks(size: int, *vectors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    count = -(-vectors[0].numel() // size)
    return zip(*(vector.chunk(count) for vector in vectors), strict=True)


def _total(squares: list[Tensor]) -> Tensor:
    """Return the sum of scalars; most networks are one block, whose own scalar it is."""
    return squares[0] if len(squares) == 1 else torch.stack(squares).sum()


def _descend(
    x: Tensor, numerator: Tensor, root: Tensor, rate: float | Tensor, result: Tensor
) -> Tensor:
    """Put x - rate · numerator / root into `result`; returns |numerator / root|²; spoils `root`."""
    if not isinstance(rate, Tensor):
        # The operation of PyTorch's own optimizers: the same, bit for bit.
        torch.addcdiv(x, numerator, root, value=-rate, out=result)
    direction = torch.div(numerator, root, out=root)
    squares = torch.dot(direction, direction)
    if isinstance(rate, Tensor):
        torch.sub(x, direction.mul_(rate), out=result)
    return squares
