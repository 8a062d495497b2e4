"""RMSprop on a flat vector, in the two forms that the papers' code bases use."""

import torch
from torch import Tensor

from gala_rl.config import A2CSettings

_TINY = torch.finfo(torch.float32).tiny


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
        square_average: [P] s, the whole state of the optimiser.
    """

    def __init__(
        self, parameters: Tensor, settings: A2CSettings, memory: Tensor | None = None
    ) -> None:
        self._parameters = parameters
        self._decay = settings.rmsprop_decay
        self._epsilon = settings.rmsprop_epsilon
        self._epsilon_inside = settings.optimizer == "rmsprop-tf"
        self.square_average = torch.empty_like(parameters) if memory is None else memory
        self.square_average.fill_(1.0 if self._epsilon_inside else 0.0)
        self._denominator = torch.empty_like(parameters)

    def step(self, grads: Tensor, learning_rate: float) -> None:
        """One update of the parameters in place.

        Args:
            grads: [P], already clipped.
            learning_rate: of this update.
        """
        self.square_average.mul_(self._decay).addcmul_(grads, grads, value=1.0 - self._decay)
        if self._epsilon_inside:
            torch.add(self.square_average, self._epsilon, out=self._denominator).sqrt_()
        else:
            # The root of zero or of a subnormal number (dead units) takes ten times as long;
            # the smallest normal number instead is lost in the sum with ε.
            torch.clamp(self.square_average, min=_TINY, out=self._denominator)
            self._denominator.sqrt_().add_(self._epsilon)
        self._parameters.addcdiv_(grads, self._denominator, value=-learning_rate)
