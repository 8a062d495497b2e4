"""The actor-critic loss equals the formula, and each gradient flows only where it may."""

import pytest
import torch
from torch import Tensor

from gala_rl.losses.actor_critic import ActorCriticLoss, actor_critic_loss

STEPS, SIMULATORS = 5, 3
VALUE_COST, ENTROPY_COST = 0.7, 0.03


def random_inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def draw() -> Tensor:
        return torch.randn(STEPS, SIMULATORS, generator=generator, dtype=torch.float64)

    return {name: draw() for name in ("log_probs", "entropies", "values", "returns")}


def learned_inputs() -> dict[str, Tensor]:
    return {name: x.requires_grad_(name != "returns") for name, x in random_inputs().items()}


def loss_of(inputs: dict[str, Tensor]) -> ActorCriticLoss:
    return actor_critic_loss(**inputs, value_cost=VALUE_COST, entropy_cost=ENTROPY_COST)


def grad(inputs: dict[str, Tensor], name: str) -> Tensor:
    gradient = inputs[name].grad
    assert gradient is not None
    return gradient


def literal_terms(inputs: dict[str, Tensor]) -> tuple[float, float, float]:
    """Means of -log π · A, A² and H, one step of one simulator after the other."""
    policy = value = entropy = 0.0
    for t in range(STEPS):
        for b in range(SIMULATORS):
            at = {name: x[t, b].item() for name, x in inputs.items()}
            advantage = at["returns"] - at["values"]
            policy -= at["log_probs"] * advantage
            value += advantage**2
            entropy += at["entropies"]
    count = STEPS * SIMULATORS
    return policy / count, value / count, entropy / count


def test_terms_and_total_equal_the_literal_loops() -> None:
    inputs = random_inputs()
    policy, value, entropy = literal_terms(inputs)
    loss = loss_of(inputs)
    assert loss.policy.item() == pytest.approx(policy, rel=1e-12)
    assert loss.value.item() == pytest.approx(value, rel=1e-12)
    assert loss.entropy.item() == pytest.approx(entropy, rel=1e-12)
    total = policy + VALUE_COST * value - ENTROPY_COST * entropy
    assert loss.total.item() == pytest.approx(total, rel=1e-12)


def test_gradients_equal_those_derived_by_hand() -> None:
    inputs = learned_inputs()
    torch.autograd.backward(loss_of(inputs).total)
    count = STEPS * SIMULATORS
    advantages = (inputs["returns"] - inputs["values"]).detach()
    torch.testing.assert_close(grad(inputs, "log_probs"), -advantages / count)
    torch.testing.assert_close(grad(inputs, "values"), -2 * VALUE_COST * advantages / count)
    torch.testing.assert_close(
        grad(inputs, "entropies"), torch.full_like(advantages, -ENTROPY_COST / count)
    )


def test_gradients_equal_finite_differences_with_the_advantage_frozen() -> None:
    inputs = learned_inputs()
    torch.autograd.backward(loss_of(inputs).total)
    plain = {name: x.detach() for name, x in inputs.items()}
    frozen = plain["returns"] - plain["values"]

    def surrogate(x: dict[str, Tensor]) -> float:
        policy = -(x["log_probs"] * frozen).mean()
        value = (x["returns"] - x["values"]).square().mean()
        return float(policy + VALUE_COST * value - ENTROPY_COST * x["entropies"].mean())

    step = 1e-6
    for name in ("log_probs", "entropies", "values"):
        for t in range(STEPS):
            for b in range(SIMULATORS):
                nudge = torch.zeros(STEPS, SIMULATORS, dtype=torch.float64)
                nudge[t, b] = step
                up = surrogate({**plain, name: plain[name] + nudge})
                down = surrogate({**plain, name: plain[name] - nudge})
                slope = (up - down) / (2 * step)
                assert grad(inputs, name)[t, b].item() == pytest.approx(slope, abs=1e-8)


def test_each_term_passes_gradcheck_in_what_it_learns() -> None:
    inputs = learned_inputs()
    returns, values = inputs["returns"], inputs["values"].detach()

    def total(log_probs: Tensor, entropies: Tensor) -> Tensor:
        learned = {"log_probs": log_probs, "entropies": entropies}
        return loss_of({**learned, "values": values, "returns": returns}).total

    def value(values: Tensor) -> Tensor:
        return loss_of({**random_inputs(), "values": values}).value

    assert torch.autograd.gradcheck(total, (inputs["log_probs"], inputs["entropies"]))
    assert torch.autograd.gradcheck(value, (inputs["values"],))


def test_the_policy_term_teaches_the_value_nothing() -> None:
    inputs = learned_inputs()
    torch.autograd.backward(loss_of(inputs).policy)
    assert inputs["values"].grad is None
    assert grad(inputs, "log_probs").abs().sum() > 0


def test_the_value_term_teaches_the_policy_nothing() -> None:
    inputs = learned_inputs()
    torch.autograd.backward(loss_of(inputs).value)
    assert inputs["log_probs"].grad is None
    assert inputs["entropies"].grad is None
    assert grad(inputs, "values").abs().sum() > 0


def test_returns_are_constants_even_when_they_carry_gradient() -> None:
    inputs = learned_inputs()
    inputs["returns"].requires_grad_()
    torch.autograd.backward(loss_of(inputs).total)
    assert inputs["returns"].grad is None


def test_descent_makes_an_action_better_than_expected_more_probable() -> None:
    log_probs = torch.full((1, 1), -1.0, requires_grad=True)
    zero = torch.zeros(1, 1)
    loss = actor_critic_loss(
        log_probs=log_probs,
        entropies=zero,
        values=zero,
        returns=torch.ones(1, 1),
        value_cost=0.5,
        entropy_cost=0.0,
    )
    torch.autograd.backward(loss.total)
    assert log_probs.grad is not None
    assert log_probs.grad.item() == -1.0


@pytest.mark.parametrize("name", ["log_probs", "entropies", "values"])
@pytest.mark.parametrize("returns_shape", [(6,), (3, 2)])
def test_a_shape_that_would_broadcast_is_refused(name: str, returns_shape: tuple[int, ...]) -> None:
    inputs = dict.fromkeys(
        ("log_probs", "entropies", "values", "returns"), torch.zeros(returns_shape)
    )
    inputs[name] = torch.zeros(*returns_shape, 1)
    with pytest.raises(ValueError, match=name):
        loss_of(inputs)
