"""The clipped surrogate equals the formula, and stops pulling exactly where it should."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gala_rl.losses.ppo import PPOLoss, ppo_loss

CLIP_RANGE, VALUE_CLIP_RANGE, VALUE_COST, ENTROPY_COST = 0.2, 0.5, 0.7, 0.03
LEARNED = ("log_probs", "entropies", "values")
CONSTANT = ("old_log_probs", "old_values", "advantages", "returns")
SHAPE = (6, 4)


def random_inputs(seed: int = 3) -> dict[str, Tensor]:
    """Ratios and values on both sides of both clips."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {
        name: torch.randn(SHAPE, generator=generator, dtype=torch.float64)
        for name in (*LEARNED, *CONSTANT)
    }
    inputs["log_probs"] = inputs["old_log_probs"] + 0.3 * inputs["log_probs"]
    return inputs


def learned_inputs() -> dict[str, Tensor]:
    return {name: x.requires_grad_(name in LEARNED) for name, x in random_inputs().items()}


def single(**numbers: float) -> dict[str, Tensor]:
    """One sample; what is not given is 0, and log_probs learn."""
    inputs = {
        name: torch.tensor([numbers.get(name, 0.0)], dtype=torch.float64)
        for name in (*LEARNED, *CONSTANT)
    }
    inputs["log_probs"].requires_grad_()
    inputs["values"].requires_grad_()
    return inputs


def loss_of(
    inputs: dict[str, Tensor],
    clip_range: float = CLIP_RANGE,
    value_clip_range: float | None = VALUE_CLIP_RANGE,
) -> PPOLoss:
    return ppo_loss(
        **inputs,
        clip_range=clip_range,
        value_clip_range=value_clip_range,
        value_cost=VALUE_COST,
        entropy_cost=ENTROPY_COST,
    )


def grad(inputs: dict[str, Tensor], name: str) -> Tensor:
    gradient = inputs[name].grad
    assert gradient is not None
    return gradient


def literal_loss(inputs: dict[str, Tensor], value_clip_range: float | None) -> list[float]:
    """The fields of the loss, sample by sample, with every case of a clip spelt out."""
    policy = value = entropy = outside = kl = 0.0
    count = inputs["returns"].numel()
    for i in range(count):
        at = {name: x.flatten()[i].item() for name, x in inputs.items()}
        ratio = math.exp(at["log_probs"]) / math.exp(at["old_log_probs"])
        clipped = min(max(ratio, 1 - CLIP_RANGE), 1 + CLIP_RANGE)
        policy -= min(ratio * at["advantages"], clipped * at["advantages"])
        error = (at["returns"] - at["values"]) ** 2
        if value_clip_range is not None:
            moved = at["values"] - at["old_values"]
            moved = min(max(moved, -value_clip_range), value_clip_range)
            error = max(error, (at["returns"] - at["old_values"] - moved) ** 2)
        value += error
        entropy += at["entropies"]
        outside += not 1 - CLIP_RANGE <= ratio <= 1 + CLIP_RANGE
        kl += ratio - 1 - math.log(ratio)
    total = policy + VALUE_COST * value - ENTROPY_COST * entropy
    return [x / count for x in (total, policy, value, entropy, outside, kl)]


@pytest.mark.parametrize("value_clip_range", [VALUE_CLIP_RANGE, None])
@pytest.mark.parametrize("seed", range(5))
def test_every_field_equals_the_literal_loops(seed: int, value_clip_range: float | None) -> None:
    inputs = random_inputs(seed)
    loss = [x.item() for x in loss_of(inputs, value_clip_range=value_clip_range)]
    assert loss == pytest.approx(literal_loss(inputs, value_clip_range), rel=1e-12)
    assert 0 < loss[PPOLoss._fields.index("clip_fraction")] < 1


@pytest.mark.parametrize("value_clip_range", [VALUE_CLIP_RANGE, None])
def test_gradients_equal_finite_differences(value_clip_range: float | None) -> None:
    inputs = learned_inputs()
    torch.autograd.backward(loss_of(inputs, value_clip_range=value_clip_range).total)
    plain = {name: x.detach() for name, x in inputs.items()}
    step = 1e-6
    for name in LEARNED:
        for i in range(plain[name].numel()):
            nudge = torch.zeros(SHAPE, dtype=torch.float64)
            nudge.view(-1)[i] = step
            up = literal_loss({**plain, name: plain[name] + nudge}, value_clip_range)[0]
            down = literal_loss({**plain, name: plain[name] - nudge}, value_clip_range)[0]
            slope = (up - down) / (2 * step)
            assert grad(inputs, name).flatten()[i].item() == pytest.approx(slope, abs=1e-8)


def test_what_is_constant_has_no_gradient_even_where_it_could() -> None:
    inputs = {name: x.requires_grad_() for name, x in random_inputs().items()}
    loss = loss_of(inputs)
    torch.autograd.backward(loss.total)
    assert all(inputs[name].grad is None for name in CONSTANT)
    assert not loss.clip_fraction.requires_grad
    assert not loss.approx_kl.requires_grad


@pytest.mark.parametrize(("term", "name"), [("policy", "log_probs"), ("value", "values")])
def test_each_term_teaches_its_own_part_alone(term: str, name: str) -> None:
    inputs = learned_inputs()
    torch.autograd.backward(getattr(loss_of(inputs), term))
    assert grad(inputs, name).abs().sum() > 0
    assert all(inputs[other].grad is None for other in LEARNED if other != name)


def test_at_the_old_policy_the_gradient_is_the_policy_gradient() -> None:
    inputs = random_inputs()
    inputs["log_probs"] = inputs["old_log_probs"].clone().requires_grad_()
    loss = loss_of(inputs)
    torch.autograd.backward(loss.policy)
    advantages = inputs["advantages"]
    torch.testing.assert_close(grad(inputs, "log_probs"), -advantages / advantages.numel())
    assert loss.policy.item() == pytest.approx(-advantages.mean().item())
    assert loss.clip_fraction.item() == 0
    assert loss.approx_kl.item() == 0


@pytest.mark.parametrize(
    ("ratio", "advantage", "pulls"),
    [
        (1.3, 2.0, False),  # Already more probable, and it should be: far enough.
        (0.7, -2.0, False),  # Already less probable, and it should be: far enough.
        (1.3, -2.0, True),
        (0.7, 2.0, True),
        (1.1, 2.0, True),
        (0.9, -2.0, True),
    ],
)
def test_the_clip_stops_the_pull_only_where_it_leads_further_away(
    ratio: float, advantage: float, pulls: bool
) -> None:
    inputs = single(log_probs=math.log(ratio), advantages=advantage)
    torch.autograd.backward(loss_of(inputs).policy)
    expected = -ratio * advantage if pulls else 0.0
    assert grad(inputs, "log_probs").item() == pytest.approx(expected)


@settings(deadline=None, max_examples=100)
@given(st.floats(-3, 3), st.floats(-5, 5), st.floats(0, 0.9))
def test_the_clipped_surrogate_is_a_lower_bound(
    log_ratio: float, advantage: float, clip_range: float
) -> None:
    inputs = single(log_probs=log_ratio, advantages=advantage)
    surrogate = -loss_of(inputs, clip_range).policy.item()
    assert surrogate <= math.exp(log_ratio) * advantage + 1e-12


@pytest.mark.parametrize(
    ("value", "target", "pulls"),
    [
        (0.8, 2.0, False),  # Beyond the range, towards the target: far enough.
        (0.8, -2.0, True),
        (0.3, 2.0, True),
        (-0.8, -2.0, False),
    ],
)
def test_a_value_moves_no_further_than_its_range_towards_the_target(
    value: float, target: float, pulls: bool
) -> None:
    inputs = single(values=value, returns=target)
    torch.autograd.backward(loss_of(inputs).value)
    expected = -2 * (target - value) if pulls else 0.0
    assert grad(inputs, "values").item() == pytest.approx(expected)


@settings(deadline=None, max_examples=100)
@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 3))
def test_value_clipping_never_makes_the_error_smaller(
    value: float, old: float, target: float, clip_range: float
) -> None:
    inputs = single(values=value, old_values=old, returns=target)
    plain = loss_of(inputs, value_clip_range=None).value.item()
    assert plain == pytest.approx((target - value) ** 2)
    assert loss_of(inputs, value_clip_range=clip_range).value.item() >= plain
    wide = loss_of(inputs, value_clip_range=10.1).value.item()
    assert wide == pytest.approx(plain, abs=1e-9)


def test_approx_kl_is_the_divergence_on_average_over_the_old_policys_actions() -> None:
    """Each action of a categorical policy, repeated as often as its probability in tenths says."""
    old = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    new = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    actions = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    inputs = {name: torch.zeros(10, dtype=torch.float64) for name in (*LEARNED, *CONSTANT)}
    inputs["log_probs"], inputs["old_log_probs"] = new.log()[actions], old.log()[actions]
    divergence = (old * (old / new).log()).sum().item()
    assert loss_of(inputs).approx_kl.item() == pytest.approx(divergence)


def test_descent_makes_an_action_better_than_expected_more_probable() -> None:
    inputs = single(advantages=1.0)
    torch.autograd.backward(loss_of(inputs).total)
    assert grad(inputs, "log_probs").item() == -1.0


@pytest.mark.parametrize("name", [*LEARNED, *CONSTANT])
@pytest.mark.parametrize("shape", [(6,), (3, 2)])
def test_a_shape_that_would_broadcast_is_refused(name: str, shape: tuple[int, ...]) -> None:
    inputs = dict.fromkeys((*LEARNED, *CONSTANT), torch.zeros(shape))
    inputs[name] = torch.zeros(*shape, 1)
    with pytest.raises(ValueError, match=name):
        loss_of(inputs)
