"""The core is PyTorch's LSTM, unrolling it is stepping it, and gradients stop where memory does."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gala_rl.models.core import LSTMCore

INPUTS, UNITS = 3, 4


def make_core(dtype: torch.dtype = torch.float32) -> LSTMCore:
    """With large random parameters, biases too, so that nothing can be forgotten unnoticed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        core = LSTMCore(INPUTS, UNITS)
        for parameter in core.parameters():
            nn.init.normal_(parameter)
    return core.to(dtype)


def random(*shape: int, seed: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def stepped(core: LSTMCore, features: Tensor, state: Tensor, begins: Tensor) -> Tensor:
    """Outputs [T, B, H] and, behind them, the state of each step: [T, B, H + S]."""
    outputs = []
    for t in range(len(features)):
        state = torch.where(begins[t].unsqueeze(-1), torch.zeros_like(state), state)
        output, state = core(features[t], state)
        outputs.append(torch.cat((output, state), dim=-1))
    return torch.stack(outputs)


def literal_step(core: LSTMCore, x: list[float], state: list[float]) -> list[float]:
    """One step of one simulator by the equations, number by number; h and, behind it, c."""
    h, c = state[:UNITS], state[UNITS:]

    def z(row: int) -> float:
        terms = zip(core.inputs.weight[row].tolist(), x, strict=True)
        again = zip(core.recurrent.weight[row].tolist(), h, strict=True)
        total = sum(w * v for w, v in terms) + sum(w * v for w, v in again)
        return float(total + core.inputs.bias[row].item())

    def sigmoid(value: float) -> float:
        return 1.0 / (1.0 + math.exp(-value))

    new_h, new_c = [], []
    for k in range(UNITS):
        i, f, o = (sigmoid(z(block * UNITS + k)) for block in (0, 1, 3))
        new_c.append(f * c[k] + i * math.tanh(z(2 * UNITS + k)))
        new_h.append(o * math.tanh(new_c[k]))
    return new_h + new_c


def test_a_step_is_what_the_equations_say() -> None:
    core, x, state = make_core(), random(5, INPUTS), random(5, 2 * UNITS, seed=3)
    outputs, after = core(x, state)
    expected = torch.tensor(
        [literal_step(core, row, old) for row, old in zip(x.tolist(), state.tolist(), strict=True)]
    )
    torch.testing.assert_close(after, expected)
    assert torch.equal(outputs, after[:, :UNITS])


def test_outputs_and_gradients_are_those_of_torch() -> None:
    core, reference = make_core(), nn.LSTM(INPUTS, UNITS)
    w_input, w_recurrent, bias, other_bias = reference.parameters()
    w_input.data.copy_(core.inputs.weight)
    w_recurrent.data.copy_(core.recurrent.weight)
    bias.data.copy_(core.inputs.bias)
    other_bias.data.zero_()
    mine = random(7, 5, INPUTS).requires_grad_()
    theirs = mine.detach().clone().requires_grad_()
    state = random(5, 2 * UNITS, seed=3)
    outputs, after = core(mine.flatten(0, 1), state, torch.zeros(7, 5, dtype=torch.bool))
    h, c = (part.contiguous()[None] for part in state.chunk(2, dim=-1))
    expected, last = reference(theirs, (h, c))
    torch.testing.assert_close(outputs.view(7, 5, UNITS), expected)
    torch.testing.assert_close(after, torch.cat(last, dim=-1)[0])
    weights = random(7, 5, UNITS, seed=4)
    torch.autograd.backward((weights.flatten(0, 1) * outputs).sum())
    torch.autograd.backward((weights * expected).sum())
    for one, other in (
        (mine.grad, theirs.grad),
        (core.inputs.weight.grad, w_input.grad),
        (core.recurrent.weight.grad, w_recurrent.grad),
        (core.inputs.bias.grad, bias.grad),
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    begins=st.integers(1, 12).flatmap(
        lambda steps: st.lists(
            st.lists(st.booleans(), min_size=3, max_size=3), min_size=steps, max_size=steps
        )
    ),
    seed=st.integers(0, 1000),
)
def test_unrolling_is_stepping(begins: list[list[bool]], seed: int) -> None:
    core, flags = make_core(), torch.tensor(begins)
    features, state = random(len(begins), 3, INPUTS, seed=seed), random(3, 2 * UNITS, seed=seed)
    outputs, after = core(features.flatten(0, 1), state, flags)
    expected = stepped(core, features, state, flags)
    torch.testing.assert_close(
        outputs.view(len(begins), 3, UNITS), expected[..., :UNITS], rtol=0.0, atol=1e-6
    )
    torch.testing.assert_close(after, expected[-1, :, UNITS:], rtol=0.0, atol=1e-6)


def test_gradients_equal_finite_differences() -> None:
    core = make_core(torch.float64)
    begins = torch.rand(6, 3, generator=torch.Generator().manual_seed(5)) < 0.3
    assert begins[1:].any()
    state = random(3, 2 * UNITS, dtype=torch.float64)
    features = random(6 * 3, INPUTS, dtype=torch.float64).requires_grad_()

    def outputs(features: Tensor, *parameters: Tensor) -> Tensor:
        names = [name for name, _ in core.named_parameters()]
        given = dict(zip(names, parameters, strict=True))
        result: Tensor = torch.func.functional_call(core, given, (features, state, begins))[0]
        return result

    assert torch.autograd.gradcheck(outputs, (features, *core.parameters()))


def test_gradients_stop_where_an_episode_begins_and_at_the_start_of_the_rollout() -> None:
    core = make_core()
    features = random(5, 2, INPUTS).requires_grad_()
    state = random(2, 2 * UNITS, seed=3).requires_grad_()
    begins = torch.zeros(5, 2, dtype=torch.bool)
    begins[2, 0] = True
    outputs, after = core(features.flatten(0, 1), state, begins)
    last = outputs.view(5, 2, UNITS)[4].sum()
    to_features, to_state = torch.autograd.grad(last, (features, state), allow_unused=True)
    reached = to_features.abs().sum(dim=-1) > 0
    assert reached.T.tolist() == [[False, False, True, True, True], [True] * 5]
    assert not after.requires_grad
    assert to_state is None


def test_nothing_from_before_an_episode_reaches_it() -> None:
    core, begins = make_core(), torch.zeros(4, 2, dtype=torch.bool)
    begins[2, 0] = True
    one, other = random(4, 2, INPUTS), random(4, 2, INPUTS)
    other[:2] += 1.0
    state = random(2, 2 * UNITS)
    first, _ = core(one.flatten(0, 1), state, begins)
    second, _ = core(other.flatten(0, 1), -state, begins)
    same = (first == second).view(4, 2, UNITS).all(dim=-1)
    assert same.T.tolist() == [[False, False, True, True], [False] * 4]


def test_simulators_can_be_unrolled_in_any_subset() -> None:
    core, features, state = make_core(), random(6, 4, INPUTS), random(4, 2 * UNITS)
    begins = torch.rand(6, 4, generator=torch.Generator().manual_seed(5)) < 0.3
    outputs, after = core(features.flatten(0, 1), state, begins)
    columns = torch.tensor([3, 1])
    some, some_after = core(features[:, columns].flatten(0, 1), state[columns], begins[:, columns])
    torch.testing.assert_close(some.view(6, 2, UNITS), outputs.view(6, 4, UNITS)[:, columns])
    torch.testing.assert_close(some_after, after[columns])


@pytest.mark.parametrize("units", [4, 32])
def test_gates_start_orthogonal_and_what_is_stored_lasts(units: int) -> None:
    core = LSTMCore(40, units)
    for gate in (*core.inputs.weight.chunk(4), *core.recurrent.weight.chunk(4)):
        torch.testing.assert_close(gate @ gate.T, torch.eye(units), rtol=0.0, atol=1e-5)
    bias = core.inputs.bias.detach().view(4, units)
    assert torch.equal(bias, torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None].expand(4, units))
