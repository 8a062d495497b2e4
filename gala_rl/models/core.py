"""The recurrent core between torso and heads: an LSTM on sequences of several episodes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class LSTMCore(nn.Module):
    """A layer of LSTM units.

    "Long short-term memory", Hochreiter and Schmidhuber 1997, with the forget gates of "Learning to
    forget: continual prediction with LSTM", Gers, Schmidhuber and Cummins 2000.

    With z = W x_t + U h_{t-1} + b in four blocks, i, f and o their sigmoids and u the tanh of the
    third: c_t = f c_{t-1} + i u and h_t = o tanh(c_t). Weights of each gate are orthogonal; the
    bias of f starts at 1, so that memory lasts ("An empirical exploration of recurrent
    network architectures", Jozefowicz, Zaremba and Sutskever 2015).

    Args:
        inputs: F, size of input features.
        units: H.

    Attributes:
        features: H, size of output features.
        state_size: S = 2 H, length of a state: h and, behind it, c.
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.features = units
        self.state_size = 2 * units
        self.inputs = nn.Linear(inputs, 4 * units)
        self.recurrent = nn.Linear(units, 4 * units, bias=False)
        for weight in (self.inputs.weight, self.recurrent.weight):
            for gate in weight.detach().chunk(4):
                nn.init.orthogonal_(gate)
        nn.init.zeros_(self.inputs.bias)
        nn.init.ones_(self.inputs.bias.detach().chunk(4)[1])

    def forward(
        self, features: Tensor, state: Tensor, is_first: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Unroll over T steps; gradients flow back to the first step, or the first of an episode.

        Args:
            features: [T * B, F] time-major.
            state: [B, S] before the first step; a constant.
            is_first: [T, B] steps before which the state is set to zero; None: T = 1, without a
                reset.

        Returns:
            [T * B, H] and the state [B, S] after the last step, without gradient.
        """
        if torch.compiler.is_exporting():
            return self._step(features, state)
        simulators = len(state)
        if is_first is None:
            is_first = torch.zeros(1, simulators, dtype=torch.bool, device=state.device)
        z = self.inputs(features).view(*is_first.shape, -1)
        keep = (~is_first).to(z.dtype).unsqueeze(-1)
        outputs, after = _Unroll.apply(  # type: ignore[no-untyped-call]
            z, self.recurrent.weight, state, keep
        )
        return outputs.flatten(0, 1), after

    def _step(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Make one step without a gradient in operations that every runtime has."""
        h, c = state.chunk(2, dim=-1)
        i, f, u, o = (self.inputs(features) + self.recurrent(h)).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * u.tanh()
        h = o.sigmoid() * c.tanh()
        return h, torch.cat((h, c), dim=-1)


class _Unroll(torch.autograd.Function):
    """Backpropagation through time by hand.

    Only the recurrence is a loop; computations that do not need the previous step are done for all
    steps at once, which takes about half as long as autograd on the same loop. Resets cost
    nothing, while torch.nn.LSTM would have to be called on every stretch between two of them.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, weight: Tensor, state: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        (steps, simulators, _), units = z.shape, weight.shape[1]
        gates = torch.empty_like(z)
        h_in, c_in, c_tanh, outputs = z.new_empty(4, steps, simulators, units).unbind()
        h, c = state.to(z.dtype).chunk(2, dim=-1)
        for t in range(steps):
            torch.mul(h, keep[t], out=h_in[t])
            torch.mul(c, keep[t], out=c_in[t])
            torch.addmm(z[t], h_in[t], weight.t(), out=gates[t])
            i, f, u, o = gates[t].chunk(4, dim=-1)
            for gate in (i, f, o):
                gate.sigmoid_()
            u.tanh_()
            c = torch.addcmul(f * c_in[t], i, u)
            torch.tanh(c, out=c_tanh[t])
            h = torch.mul(o, c_tanh[t], out=outputs[t])
        after = torch.cat((h, c), dim=-1)
        ctx.save_for_backward(gates, h_in, c_in, c_tanh, weight, keep)
        ctx.mark_non_differentiable(after)
        return outputs, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gates, h_in, c_in, c_tanh, weight, keep = ctx.saved_tensors
        i, f, u, o = gates.chunk(4, dim=-1)
        # How c_t and h_t change with the four blocks of z_t, and h_t with c_t.
        by_i, by_f, by_u = u * i * (1 - i), c_in * f * (1 - f), i * (1 - u.square())
        by_o, by_c = c_tanh * o * (1 - o), o * (1 - c_tanh.square())
        carried = f * keep
        grad_z = torch.empty_like(gates)
        grad_h, grad_c = torch.zeros_like(h_in[0]), torch.zeros_like(h_in[0])
        for t in reversed(range(len(gates))):
            grad_h = grad_h + grad_outputs[t]
            grad_c = torch.addcmul(grad_c, grad_h, by_c[t])
            to_i, to_f, to_u, to_o = grad_z[t].chunk(4, dim=-1)
            torch.mul(grad_c, by_i[t], out=to_i)
            torch.mul(grad_c, by_f[t], out=to_f)
            torch.mul(grad_c, by_u[t], out=to_u)
            torch.mul(grad_h, by_o[t], out=to_o)
            grad_h = (grad_z[t] @ weight) * keep[t]
            grad_c = grad_c * carried[t]
        grad_weight = grad_z.flatten(0, 1).t() @ h_in.flatten(0, 1)
        return grad_z, grad_weight, None, None
