"""A module's parameters and gradients as views into one contiguous vector each.

Clipping, the optimiser, sending and mixing then are single passes over one vector, and a message
between learners is one memory copy.
"""

import torch
from torch import Tensor, nn

ALIGNMENT = 16
"""Every parameter starts at a multiple of this many floats (64 bytes, one cache line)."""


class FlatParameters:
    """Moves a module's parameters into one float32 vector; the module keeps working as before.

    Each parameter keeps its shape and its strides (channels-last weights stay channels-last).
    The few padding elements between parameters are zero and stay zero, since their gradient is.

    Attributes:
        values: [P] all parameters.
        grads: [P] their gradients; autograd accumulates straight into it.
        count: number of true parameters, padding not counted.
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = list(module.parameters())
        if not parameters:
            raise ValueError("the module has no parameters to flatten")
        if wrong := {p.dtype for p in parameters} - {torch.float32}:
            raise TypeError(f"parameters must be float32, not {wrong}")
        sizes = [-(-p.numel() // ALIGNMENT) * ALIGNMENT for p in parameters]
        device = parameters[0].device
        self.values = torch.zeros(sum(sizes), device=device)
        self.grads = torch.zeros(sum(sizes), device=device)
        self.count = sum(p.numel() for p in parameters)
        offset = 0
        for parameter, size in zip(parameters, sizes, strict=True):
            # Strides of a dense copy: a slice of a larger tensor would reach beyond its place.
            shape, strides = parameter.shape, torch.empty_like(parameter).stride()
            view = self.values[offset : offset + size].as_strided(shape, strides)
            view.copy_(parameter.data)
            parameter.data = view
            parameter.grad = self.grads[offset : offset + size].as_strided(shape, strides)
            offset += size

    def zero_grads(self) -> None:
        """Set every gradient to zero in one pass."""
        self.grads.zero_()

    def load(self, values: Tensor) -> None:
        """Overwrite all parameters.

        Args:
            values: [P], as `values` of an equal module.
        """
        if values.shape != self.values.shape:
            raise ValueError(
                f"expected {self.values.numel()} values for this network, got {tuple(values.shape)}"
            )
        self.values.copy_(values)
