"""RMSprop, Adam and gradient clipping equal their references, step by step."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gala_rl.learners.optimizers import (
    Adam,
    Optimizer,
    RMSprop,
    clip_grad_norm_,
    make_optimizer,
    state_size,
)
from gala_rl.methods.a2c import A2CSettings

SIZE = 37
FORMS = ["rmsprop", "rmsprop-tf", "adam"]


def make(parameters: Tensor, form: str) -> Optimizer:
    settings = A2CSettings(optimizer=form)  # type: ignore[arg-type]
    memory = torch.full((state_size(settings, parameters.numel()),), float("nan"))
    return make_optimizer(parameters, settings, memory)


def draw(seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))


def gradients(steps: int) -> list[Tensor]:
    """Gradients of very different sizes, some of them zero."""
    grads = [draw(100 + i, scale=10.0 ** (i % 5 - 3)) for i in range(steps)]
    for grad in grads:
        grad[:3] = 0.0
    return grads


@pytest.mark.parametrize(("decay", "epsilon"), [(0.99, 1e-5), (0.9, 1e-2), (0.0, 1.0)])
def test_rmsprop_equals_torch_step_by_step(decay: float, epsilon: float) -> None:
    mine, theirs = draw(1), nn.Parameter(draw(1))
    optimizer = RMSprop(mine, A2CSettings(rmsprop_decay=decay, rmsprop_epsilon=epsilon))
    reference = torch.optim.RMSprop([theirs], lr=1.0, alpha=decay, eps=epsilon)
    for i, grad in enumerate(gradients(20)):
        learning_rate = 7e-4 * (1 - i / 20)
        reference.param_groups[0]["lr"] = learning_rate
        theirs.grad = grad.clone()
        reference.step()
        optimizer.step(grad, learning_rate)
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(
            optimizer.state, reference.state[theirs]["square_avg"], rtol=1e-6, atol=0.0
        )


@pytest.mark.parametrize("size", [SIZE, 200_003])
@pytest.mark.parametrize("epsilon", [1e-5, 1e-8])
def test_adam_equals_torch_bit_for_bit(size: int, epsilon: float) -> None:
    generator = torch.Generator().manual_seed(0)
    mine = torch.randn(size, generator=generator)
    theirs = nn.Parameter(mine.clone())
    optimizer = Adam(mine, A2CSettings(adam_epsilon=epsilon))
    reference = torch.optim.Adam([theirs], lr=1.0, eps=epsilon)
    for i in range(100):
        grad = 10.0 ** (i % 5 - 3) * torch.randn(size, generator=generator)
        grad[:3] = 0.0
        learning_rate = 1e-3 * (1 - i / 100)
        reference.param_groups[0]["lr"] = learning_rate
        theirs.grad = grad.clone()
        reference.step()
        optimizer.step(grad, learning_rate)
        assert torch.equal(mine, theirs)
    state = reference.state[theirs]
    assert torch.equal(optimizer.state[:size], state["exp_avg"])
    assert torch.equal(optimizer.state[size : 2 * size], state["exp_avg_sq"])
    assert optimizer.state[2 * size :].tolist() == [100.0] + 15 * [0.0]


def test_adam_forgets_what_would_become_subnormal() -> None:
    """A unit that has died: PyTorch's averages stay subnormal for ever, ours reach zero."""
    mine, theirs = torch.ones(1), nn.Parameter(torch.ones(1))
    optimizer = Adam(mine, A2CSettings())
    reference = torch.optim.Adam([theirs], lr=1e-3, eps=1e-5)
    for i in range(1500):
        grad = torch.tensor([1e-12 if i < 3 else 0.0])
        theirs.grad = grad.clone()
        reference.step()
        optimizer.step(grad, 1e-3)
        assert torch.equal(mine, theirs)
    assert 0 < reference.state[theirs]["exp_avg"].item() < torch.finfo(torch.float32).tiny
    assert optimizer.state[0] == 0


def test_averages_of_two_states_of_adam_make_a_step_between_theirs() -> None:
    """Averaging the states averages the step counts, which must not lengthen the next step."""
    steps = []
    for counts in ((1, 1), (1, 9), (40, 9), (3000, 200)):
        states = []
        for count in counts:
            optimizer = Adam(torch.zeros(1), A2CSettings())
            for _ in range(count):
                optimizer.step(torch.ones(1), 1e-3)
            states.append(optimizer.state)
        mixed = Adam(torch.zeros(1), A2CSettings())
        mixed.state.copy_(torch.stack(states).mean(0))
        steps.append(mixed.step(torch.ones(1), 1e-3).item())
    # Each alone makes steps of 1e-3, since all gradients are the same.
    assert steps[0] == pytest.approx(1e-3, rel=1e-4)
    assert all(0.5e-3 < step < 1.4e-3 for step in steps), steps


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("learning_rate", [0.07, torch.tensor(0.07)])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_step_tells_how_long_it_was(
    learning_rate: float | Tensor, in_place: bool, form: str
) -> None:
    parameters = draw(1)
    optimizer = make(parameters, form)
    for grad in gradients(3):
        before, out = parameters.clone(), None if in_place else torch.empty(SIZE)
        norm = optimizer.step(grad, learning_rate, out)
        after = parameters if out is None else out
        torch.testing.assert_close(norm, (after - before).norm(), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize(("decay", "epsilon"), [(0.99, 1e-5), (0.9, 1e-2)])
def test_rmsprop_tf_equals_the_literal_formula(decay: float, epsilon: float) -> None:
    mine = draw(1)
    settings = A2CSettings(optimizer="rmsprop-tf", rmsprop_decay=decay, rmsprop_epsilon=epsilon)
    optimizer = RMSprop(mine, settings)
    parameters = mine.double().numpy().copy()
    square_average = np.ones(SIZE)
    for i, grad in enumerate(gradients(20)):
        learning_rate = 7e-4 * (1 - i / 20)
        g = grad.double().numpy()
        square_average = decay * square_average + (1 - decay) * g**2
        parameters = parameters - learning_rate * g / np.sqrt(square_average + epsilon)
        optimizer.step(grad, learning_rate)
        np.testing.assert_allclose(mine.numpy(), parameters, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(optimizer.state.numpy(), square_average, rtol=1e-5)


def test_the_first_steps_of_the_two_forms_are_as_far_apart_as_their_formulas() -> None:
    def first_step(form: str) -> float:
        parameter = torch.zeros(1)
        settings = A2CSettings(optimizer=form)  # type: ignore[arg-type]
        RMSprop(parameter, settings).step(torch.tensor([0.01]), 1.0)
        return -parameter.item()

    assert first_step("rmsprop") == pytest.approx(0.01 / (0.1 * 0.01 + 1e-5), rel=1e-4)
    assert first_step("rmsprop-tf") == pytest.approx(
        0.01 / math.sqrt(0.99 + 0.01 * 0.01**2 + 1e-5), rel=1e-4
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_state_is_all_that_must_be_saved(form: str) -> None:
    grads = gradients(10)
    whole = draw(1)
    optimizer = make(whole, form)
    for grad in grads[:5]:
        optimizer.step(grad, 1e-3)
    resumed = whole.clone()
    continued = make(resumed, form)
    continued.state.copy_(optimizer.state)
    for grad in grads[5:]:
        optimizer.step(grad, 1e-3)
        continued.step(grad, 1e-3)
    assert torch.equal(resumed, whole)


@pytest.mark.parametrize("form", FORMS)
def test_a_step_leaves_the_gradient_and_the_place_of_the_parameters_alone(form: str) -> None:
    parameters, grad = draw(1), draw(2)
    before, kept, place = parameters.clone(), grad.clone(), parameters.data_ptr()
    make(parameters, form).step(grad, 1e-3)
    assert torch.equal(grad, kept)
    assert parameters.data_ptr() == place
    assert not torch.equal(parameters, before)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30),
    st.floats(1e-3, 1e3),
)
def test_clipping_equals_torch(values: list[float], max_norm: float) -> None:
    mine = torch.tensor(values)
    parts = [nn.Parameter(torch.zeros(1)) for _ in values]
    for part, value in zip(parts, values, strict=True):
        part.grad = torch.tensor([value])
    theirs = nn.utils.clip_grad_norm_(parts, max_norm)
    norm = clip_grad_norm_(mine, max_norm)
    torch.testing.assert_close(norm, theirs, rtol=1e-5, atol=1e-7)
    clipped = torch.cat([part.grad for part in parts if part.grad is not None])
    torch.testing.assert_close(mine, clipped, rtol=1e-5, atol=1e-7)


def test_a_gradient_below_the_limit_is_left_as_it_is_bit_for_bit() -> None:
    grad = draw(3)
    kept = grad.clone()
    norm = clip_grad_norm_(grad, 100.0)
    assert torch.equal(grad, kept)
    assert norm.item() == pytest.approx(float(np.linalg.norm(kept.numpy())), rel=1e-6)


def test_a_gradient_above_the_limit_keeps_its_direction_and_reports_its_old_norm() -> None:
    grad = torch.tensor([30.0, -40.0])
    assert clip_grad_norm_(grad, 0.5).item() == 50.0
    torch.testing.assert_close(grad, torch.tensor([0.3, -0.4]), rtol=1e-6, atol=0.0)


def test_a_zero_gradient_stays_zero() -> None:
    grad = torch.zeros(4)
    assert clip_grad_norm_(grad, 0.5).item() == 0.0
    assert grad.tolist() == [0.0] * 4


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_one_poisoned_element_shows_in_the_norm(poison: float) -> None:
    grad = draw(4)
    grad[20] = poison
    assert not torch.isfinite(clip_grad_norm_(grad, 0.5))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 2**16 - 1, 2**16, 2**16 + 1, 200_003])
def test_vectors_of_many_blocks_are_updated_as_one(size: int, form: str) -> None:
    generator = torch.Generator().manual_seed(1)
    start, grads = torch.randn(2, size, generator=generator)
    whole = start.clone()
    one = make(whole, form)
    one.step(grads, 1e-3)
    for place in torch.randint(size, (20,), generator=generator).tolist():
        single = start[place : place + 1].clone()
        other = make(single, form)
        other.step(grads[place : place + 1], 1e-3)
        torch.testing.assert_close(whole[place : place + 1], single)
        for average in range(2 if form == "adam" else 1):
            torch.testing.assert_close(one.state[average * size + place], other.state[average])


@pytest.mark.parametrize("form", FORMS)
def test_new_parameters_can_be_written_elsewhere(form: str) -> None:
    inside, outside, out = draw(1), draw(1), torch.full((SIZE,), float("nan"))
    in_place, elsewhere = make(inside, form), make(outside, form)
    for grad in gradients(5):
        in_place.step(grad, 1e-3)
        elsewhere.step(grad, 1e-3, out)
        assert torch.equal(out, inside)
        assert not torch.equal(out, outside), "what the step started from is left alone"
        outside.copy_(out)
    assert torch.equal(elsewhere.state, in_place.state)


@pytest.mark.parametrize("form", FORMS)
def test_the_learning_rate_may_be_a_tensor(form: str) -> None:
    mine, theirs, rate = draw(1), draw(1), torch.zeros(())
    tensor, number = make(mine, form), make(theirs, form)
    for i, grad in enumerate(gradients(10)):
        rate.fill_(1e-3 * (10 - i))
        tensor.step(grad, rate)
        number.step(grad, 1e-3 * (10 - i))
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)
