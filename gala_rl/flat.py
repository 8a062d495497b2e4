"""Stores a module's parameters and gradients in one contiguous vector each.

Clipping, the optimiser step, sending and mixing are then single passes over one vector, and a
message between learners is one memory copy.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ALIGNMENT = 16
"""Every parameter starts at a multiple of this many floats (64 bytes, one cache line)."""


def flat_size(module: nn.Module) -> int:
    """Return P, the length of the vector of all parameters of a module, padding included."""
    return sum(_padded(parameter) for parameter in module.parameters())


def learned_size(module: nn.Module) -> int:
    """Return the length of the first part of that vector, whose parameters have gradients."""
    return sum(_padded(parameter) for parameter in module.parameters() if parameter.requires_grad)


def _padded(parameter: nn.Parameter) -> int:
    return -(-parameter.numel() // ALIGNMENT) * ALIGNMENT


class FlatParameters:
    """Moves a module's parameters into one float32 vector; the module works as before.

    Each parameter retains its shape and its strides (channels-last weights stay channels-last).
    The few padding elements between parameters are zero and stay zero, since their gradient is.
    Parameters without gradient, such as running moments, come after all others; optimisers do not
    change them, since their gradient is zero too.

    Args:
        module: module whose parameters are moved.
        memory: [P] zeros to move them into, P = `flat_size(module)`; default: new memory.

    Attributes:
        values: [P] all parameters.
        grads: [P] their gradients; `backward` accumulates straight into it.
        parameters: parameters of the module, those with gradients, in their order in the vectors.
        count: number of parameters without padding.
    """

    def __init__(self, module: nn.Module, memory: Tensor | None = None) -> None:
        parameters = sorted(module.parameters(), key=lambda p: not p.requires_grad)
        if not parameters:
            raise ValueError("the module has no parameters to flatten")
        if wrong := {p.dtype for p in parameters} - {torch.float32}:
            raise TypeError(f"parameters must be float32, not {wrong}")
        if memory is None:
            memory = torch.zeros(flat_size(module), device=parameters[0].device)
        self.values = memory
        self.grads = torch.zeros_like(self.values)
        self.parameters = [p for p in parameters if p.requires_grad]
        self.count = sum(p.numel() for p in parameters)
        offset = 0
        for parameter in parameters:
            size = _padded(parameter)
            # Strides of a dense copy: those of a slice of a larger tensor would reach too far.
            shape, strides = parameter.shape, torch.empty_like(parameter).stride()
            view = self.values[offset : offset + size].as_strided(shape, strides)
            view.copy_(parameter.data)
            parameter.data = view
            if parameter.requires_grad:
                parameter.grad = self.grads[offset : offset + size].as_strided(shape, strides)
            offset += size

    def zero_grads(self) -> None:
        """Set every gradient to zero in one pass."""
        self.grads.zero_()

    def set_grads(self, grads: Sequence[Tensor]) -> None:
        """Overwrite all gradients, which saves a pass over setting them to zero and accumulating.

        Args:
            grads: one for each of `parameters`, as `torch.autograd.grad` returns them.
        """
        for parameter, grad in zip(self.parameters, grads, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(grad)

    def load(self, values: Tensor) -> None:
        """Overwrite all parameters.

        Args:
            values: [P], as `values` of a module of the same shape.
        """
        if values.shape != self.values.shape:
            raise ValueError(
                f"expected {self.values.numel()} values for this network, got {tuple(values.shape)}"
            )
        self.values.copy_(values)
