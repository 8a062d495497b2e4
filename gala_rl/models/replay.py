"""Activation replay: the backward pass of a layer whose output is known already.

Parameters don't change during a rollout, so a forward pass in the update would compute once more
what the acting passes computed. Their outputs are recorded instead, and these functions put them
into the autograd graph as if they had just been computed: the gradients are those of the plain
layers, by the same kernels, without the forward pass.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_aten = torch.ops.aten


class _ConvolutionReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, output: Tensor, stride: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight, output)
        ctx.stride = stride
        return output.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, output = ctx.saved_tensors
        grad = _aten.threshold_backward(grad, output, 0)
        no, one = [0, 0], [1, 1]
        grads = _aten.convolution_backward(
            *(grad, x, weight, [weight.shape[0]], ctx.stride, no, one, False, no, 1),
            output_mask=[ctx.needs_input_grad[0], True, True],
        )
        return (*grads, None, None)


class _LinearReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, output: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, output)
        return output.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, output = ctx.saved_tensors
        grad = _aten.threshold_backward(grad, output, 0)
        return grad @ weight, grad.t() @ x, grad.sum(0), None


def replay_convolution_relu(x: Tensor, layer: torch.nn.Conv2d, output: Tensor) -> Tensor:
    """`output`, with the gradient of relu(layer(x)).

    Args:
        x: [N, C, H, W] the layer's input.
        layer: without padding, dilation and groups.
        output: [N, K, H', W'] relu(layer(x)), computed with the same parameters.
    """
    result: Tensor = _ConvolutionReLU.apply(  # type: ignore[no-untyped-call]
        x, layer.weight, layer.bias, output, layer.stride
    )
    return result


def replay_linear_relu(x: Tensor, layer: torch.nn.Linear, output: Tensor) -> Tensor:
    """`output` [N, F], with the gradient of relu(layer(x)) for x [N, D]."""
    result: Tensor = _LinearReLU.apply(  # type: ignore[no-untyped-call]
        x, layer.weight, layer.bias, output
    )
    return result
