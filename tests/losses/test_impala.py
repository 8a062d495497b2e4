"""IMPALA's loss equals the formula, and the actor-critic's where both mean the same."""

import pytest
import torch
from torch import Tensor

from gala_rl.losses.actor_critic import ActorCriticLoss, actor_critic_loss
from gala_rl.losses.impala import impala_loss

STEPS, SIMULATORS = 5, 3
VALUE_COST, ENTROPY_COST = 0.7, 0.03
LEARNED = ("log_probs", "entropies", "values")
CONSTANT = ("targets", "advantages")


def random_inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(STEPS, SIMULATORS, generator=generator, dtype=torch.float64)
        for name in (*LEARNED, *CONSTANT)
    }


def loss_of(inputs: dict[str, Tensor]) -> ActorCriticLoss:
    return impala_loss(**inputs, value_cost=VALUE_COST, entropy_cost=ENTROPY_COST)


def grad(inputs: dict[str, Tensor], name: str) -> Tensor:
    gradient = inputs[name].grad
    assert gradient is not None
    return gradient


def literal_sums(inputs: dict[str, Tensor]) -> tuple[float, float, float]:
    """Sums of -log π · A, (v - V)² and H, one step of one simulator after the other."""
    policy = value = entropy = 0.0
    for t in range(STEPS):
        for b in range(SIMULATORS):
            at = {name: x[t, b].item() for name, x in inputs.items()}
            policy -= at["log_probs"] * at["advantages"]
            value += (at["targets"] - at["values"]) ** 2
            entropy += at["entropies"]
    return policy, value, entropy


def test_terms_and_total_are_the_literal_sums_over_the_number_of_samples() -> None:
    inputs = random_inputs()
    policy, value, entropy = (x / (STEPS * SIMULATORS) for x in literal_sums(inputs))
    loss = loss_of(inputs)
    assert loss.policy.item() == pytest.approx(policy, rel=1e-12)
    assert loss.value.item() == pytest.approx(value, rel=1e-12)
    assert loss.entropy.item() == pytest.approx(entropy, rel=1e-12)
    total = policy + VALUE_COST * value - ENTROPY_COST * entropy
    assert loss.total.item() == pytest.approx(total, rel=1e-12)


def test_the_papers_loss_is_a_multiple_as_the_docstring_says() -> None:
    inputs = random_inputs()
    policy, value, entropy = literal_sums(inputs)
    papers = policy + 0.5 * (0.5 * value) - 0.01 * entropy
    ours = impala_loss(**inputs, value_cost=0.25, entropy_cost=0.01).total.item()
    assert STEPS * SIMULATORS * ours == pytest.approx(papers, rel=1e-12)


def test_gradients_equal_finite_differences() -> None:
    inputs = {name: x.requires_grad_(name in LEARNED) for name, x in random_inputs().items()}
    torch.autograd.backward(loss_of(inputs).total)
    plain = {name: x.detach() for name, x in inputs.items()}
    step = 1e-6

    def total(x: dict[str, Tensor]) -> float:
        policy, value, entropy = literal_sums(x)
        return (policy + VALUE_COST * value - ENTROPY_COST * entropy) / (STEPS * SIMULATORS)

    for name in LEARNED:
        for t in range(STEPS):
            for b in range(SIMULATORS):
                nudge = torch.zeros(STEPS, SIMULATORS, dtype=torch.float64)
                nudge[t, b] = step
                up = total({**plain, name: plain[name] + nudge})
                down = total({**plain, name: plain[name] - nudge})
                slope = (up - down) / (2 * step)
                assert grad(inputs, name)[t, b].item() == pytest.approx(slope, abs=1e-8)


def test_with_returns_as_targets_it_is_the_actor_critic_loss_gradient_included() -> None:
    ours = {name: x.requires_grad_(name in LEARNED) for name, x in random_inputs().items()}
    ours["advantages"] = ours["targets"] - ours["values"].detach()
    theirs = {name: random_inputs()[name].requires_grad_() for name in LEARNED}
    loss = loss_of(ours)
    actor_critic = actor_critic_loss(
        **theirs, returns=ours["targets"], value_cost=VALUE_COST, entropy_cost=ENTROPY_COST
    )
    for one, other in zip(loss, actor_critic, strict=True):
        assert torch.equal(one, other)
    torch.autograd.backward([loss.total, actor_critic.total])
    for name in LEARNED:
        assert torch.equal(grad(ours, name), grad(theirs, name))


def test_targets_and_advantages_are_constants_even_when_they_carry_gradient() -> None:
    inputs = {name: x.requires_grad_() for name, x in random_inputs().items()}
    torch.autograd.backward(loss_of(inputs).total)
    assert all(inputs[name].grad is None for name in CONSTANT)
    assert all(grad(inputs, name).abs().sum() > 0 for name in LEARNED)


@pytest.mark.parametrize("name", [*LEARNED, *CONSTANT])
@pytest.mark.parametrize("shape", [(6,), (3, 2)])
def test_a_shape_that_would_broadcast_is_refused(name: str, shape: tuple[int, ...]) -> None:
    inputs = dict.fromkeys((*LEARNED, *CONSTANT), torch.zeros(shape))
    inputs[name] = torch.zeros(*shape, 1)
    with pytest.raises(ValueError, match=name):
        loss_of(inputs)
