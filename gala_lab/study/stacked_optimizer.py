"""Optimizers of a study: RMSprop and Adam with several estimates of the second moment.

The second moment of one learner's gradient, E[g²] = μ² + σ², has the variance σ² of its own small
batch. One large batch of n learners would have μ² + σ²/n. Where noise dominates, learners that
divide by the root of their own second moment therefore make steps that are √n times too short. The
estimates here differ in how they remove that noise:

- local: v, the average of g², as in the papers;
- split: the variance is estimated from half-batches, E[d²] = σ² for half their difference d;
- difference: from successive gradients, E[(g_k - g_{k-1})²] = 2 σ² as long as μ is the same;
- window: the average of the square of the mean of n successive gradients;
- gain-split, gain-difference: v times one factor for all parameters, from the mean share of noise.

Axes: M = learners of all seeds, P = parameters.
"""

import torch
from torch import Tensor

from gala_lab.study.gradients import Gradients
from gala_lab.study.options import NEED_HALVES, SecondMoment
from gala_rl.config.settings import AlgorithmSettings

_BETA_1, _BETA_2 = 0.9, 0.999
_TINY = 1e-30
_MIN_WEIGHT = 0.5
_FEW = 2
"""Updates before the share of noise is estimated, with second moments of fewer gradients."""
_GAIN_DECAY = 0.97
"""Decay of the share of noise. A sum over all parameters is little noisy, so it may be averaged
over fewer gradients than a second moment, and follow the training sooner."""


class StackedOptimizer:
    """Computes the steps of M learners from their gradients.

    Args:
        shape: (M, P).
        settings: settings of the optimizer.
        second_moment: name of the estimate.
        learners: n; a large batch averages the gradients of n learners.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        settings: AlgorithmSettings,
        second_moment: SecondMoment,
        learners: int,
    ) -> None:
        self._is_adam = settings.optimizer == "adam"
        self._is_inside = settings.optimizer == "rmsprop-tf"
        self._decay = _BETA_2 if self._is_adam else settings.rmsprop_decay
        self._epsilon = settings.adam_epsilon if self._is_adam else settings.rmsprop_epsilon
        self._max_grad_norm = settings.max_grad_norm
        self._count = 0
        self._square = torch.full(shape, 1.0 if self._is_inside else 0.0)
        self._first = torch.zeros(shape) if self._is_adam else None
        self._correction = _correction(second_moment, shape, self._decay, learners)

    def step(self, gradients: Gradients, learning_rate: float) -> Tensor:
        """Return what to subtract from parameters [M, P]."""
        norms = torch.linalg.vector_norm(gradients.mean, dim=1, keepdim=True)
        scale = (self._max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
        gradient = gradients.mean * scale
        self._count += 1
        if self._correction is not None:
            halves = gradients.half_difference
            self._correction.add(gradient, None if halves is None else halves * scale, self._square)
        self._square.mul_(self._decay).addcmul_(gradient, gradient, value=1.0 - self._decay)
        return self._direction(gradient, self._second_moment()).mul_(learning_rate)

    def gain(self) -> Tensor:
        """Return rms over parameters of √(v / v̂), [M]: from 1 to √n, how much longer steps are."""
        return (self._square / self._second_moment().clamp(min=_TINY)).mean(dim=1).sqrt()

    def _second_moment(self) -> Tensor:
        """Return v̂ [M, P]."""
        if self._correction is None:
            return self._square
        return self._correction.corrected(self._square)

    def _direction(self, gradient: Tensor, square: Tensor) -> Tensor:
        if self._is_inside:
            return gradient / (square + self._epsilon).sqrt_()
        if self._first is None:
            return gradient / square.sqrt().add_(self._epsilon)
        self._first.lerp_(gradient, 1.0 - _BETA_1)
        mean_weight, square_weight = 1.0 - _BETA_1**self._count, 1.0 - _BETA_2**self._count
        root = (square / square_weight).sqrt_().add_(self._epsilon)
        return (self._first / mean_weight).div_(root)


class _Sampler:
    """Returns samples of the gradient's noise, whose squares have the mean σ².

    Args:
        from_halves: whether from half-batches; else from successive gradients.
    """

    def __init__(self, *, from_halves: bool) -> None:
        self._from_halves = from_halves
        self._before: Tensor | None = None

    def __call__(self, gradient: Tensor, half_difference: Tensor | None) -> Tensor | None:
        """Return a sample [M, P]; None if there is no previous gradient."""
        if self._from_halves:
            return half_difference
        before, self._before = self._before, gradient
        return None if before is None else (gradient - before).mul_(0.5**0.5)


class _Coordinates:
    """Subtracts (1 - 1/n) σ² from each parameter's second moment, gradually at the start.

    Args:
        shape: (M, P).
        decay: decay of the average of σ², per gradient.
        learners: n.
        sampler: returns samples of the noise.
    """

    def __init__(
        self, shape: tuple[int, int], decay: float, learners: int, sampler: _Sampler
    ) -> None:
        self._decay, self._learners, self._sampler = decay, learners, sampler
        self._variance = torch.zeros(shape)
        self._weight = 0.0

    def add(self, gradient: Tensor, half_difference: Tensor | None, square: Tensor) -> None:
        """Take a new gradient [M, P] into account."""
        if (noise := self._sampler(gradient, half_difference)) is not None:
            self._variance.mul_(self._decay).addcmul_(noise, noise, value=1.0 - self._decay)
            self._weight = 1.0 - (1.0 - self._weight) * self._decay

    def corrected(self, square: Tensor) -> Tensor:
        """Return v̂ [M, P], between v / n and v."""
        share = (1.0 - 1.0 / self._learners) * self._weight
        estimate = torch.sub(square, self._variance, alpha=share)
        return torch.minimum(torch.maximum(estimate, square / self._learners), square)


class _Gain:
    """Scales the local second moments of all parameters by one factor, from the share of noise.

    The share is r = Σ d²/v / Σ g²/v over all parameters, both averaged over time. It is much less
    noisy than one parameter's variance.

    Args:
        shape: (M, P).
        learners: n.
        sampler: returns samples of the noise.
    """

    def __init__(self, shape: tuple[int, int], learners: int, sampler: _Sampler) -> None:
        self._learners, self._sampler = learners, sampler
        self._noise, self._all = torch.zeros(shape[0], 1), torch.zeros(shape[0], 1)
        self._updates = 0

    def add(self, gradient: Tensor, half_difference: Tensor | None, square: Tensor) -> None:
        """Take a new gradient [M, P] into account, weighted by the second moment before it."""
        noise = self._sampler(gradient, half_difference)
        self._updates += 1
        if noise is None or self._updates <= _FEW:
            return
        weights = (square + _TINY).reciprocal_()
        for average, sample in ((self._noise, noise), (self._all, gradient)):
            total = (sample.square() * weights).sum(dim=1, keepdim=True)
            average.lerp_(total, 1.0 - _GAIN_DECAY)

    def corrected(self, square: Tensor) -> Tensor:
        """Return v̂ [M, P], between v / n and v."""
        share = (self._noise / self._all.clamp(min=_TINY)).clamp(max=1.0)
        return square * (1.0 - (1.0 - 1.0 / self._learners) * share)


class _Window:
    """Averages squares of means of n successive gradients.

    Args:
        shape: (M, P).
        decay: decay of the average, per gradient.
        learners: n.
    """

    def __init__(self, shape: tuple[int, int], decay: float, learners: int) -> None:
        self._decay, self._learners = decay, learners
        self._square, self._sum = torch.zeros(shape), torch.zeros(shape)
        self._count = 0

    def add(self, gradient: Tensor, half_difference: Tensor | None, square: Tensor) -> None:
        """Take a new gradient [M, P] into account."""
        self._sum.add_(gradient, alpha=1.0 / self._learners)
        self._count += 1
        if self._count % self._learners == 0:
            decay = self._decay**self._learners
            self._square.mul_(decay).addcmul_(self._sum, self._sum, value=1.0 - decay)
            self._sum.zero_()

    def corrected(self, square: Tensor) -> Tensor:
        """Return v̂ [M, P], between v / n and v; v itself until the average is half complete."""
        done = self._count // self._learners * self._learners
        if (weight := 1.0 - self._decay**done) < _MIN_WEIGHT:
            return square
        return torch.minimum(torch.maximum(self._square / weight, square / self._learners), square)


def _correction(
    kind: SecondMoment, shape: tuple[int, int], decay: float, learners: int
) -> _Coordinates | _Gain | _Window | None:
    if kind == "local" or learners == 1:
        return None
    if kind == "window":
        return _Window(shape, decay, learners)
    sampler = _Sampler(from_halves=kind in NEED_HALVES)
    if kind.startswith("gain"):
        return _Gain(shape, learners, sampler)
    return _Coordinates(shape, decay, learners, sampler)
