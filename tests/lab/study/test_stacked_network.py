"""Stacked networks compute what each network computes alone, and its gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala_lab.study.stacked_network import StackedNetwork, _tanh
from gala_rl.errors import UserError
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec

ACTION = ActionSpec(3, True)
SPECS = [ObservationSpec((5,), False), ObservationSpec((4, 10, 10), True)]


def observations_of(spec: ObservationSpec, *shape: int) -> torch.Tensor:
    if spec.is_image:
        return torch.randint(0, 256, (*shape, *spec.shape), dtype=torch.uint8)
    return torch.randn(*shape, *spec.shape)


@pytest.mark.parametrize("spec", SPECS)
def test_outputs_and_gradients_are_those_of_each_network_alone(spec: ObservationSpec) -> None:
    torch.manual_seed(0)
    networks = [ActorCritic(spec, ACTION) for _ in range(3)]
    stacked = StackedNetwork(networks[0])
    parameters = torch.stack([stacked.flattened(network) for network in networks])
    leaf = parameters.clone().requires_grad_()
    observations = observations_of(spec, 3, 7)
    logits, values = stacked(stacked.views(leaf), observations)
    assert torch.equal(logits, stacked.policy(stacked.views(leaf), observations))
    assert torch.equal(values, stacked.values(stacked.views(leaf), observations))
    torch.autograd.backward(logits.square().sum() + values.square().sum())
    assert leaf.grad is not None
    for number, network in enumerate(networks):
        own_logits, own_values = network(observations[number])
        torch.testing.assert_close(logits[number], own_logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(values[number], own_values, atol=1e-5, rtol=1e-5)
        torch.autograd.backward(own_logits.square().sum() + own_values.square().sum())
        grads = [p.grad.reshape(-1) for p in network.parameters() if p.grad is not None]
        torch.testing.assert_close(leaf.grad[number], torch.cat(grads), atol=1e-4, rtol=1e-4)


@given(st.floats(-200.0, 200.0, width=32))
def test_the_faster_tanh_is_close_to_that_of_pytorch(x: float) -> None:
    fast, exact = (torch.tensor([x], requires_grad=True) for _ in range(2))
    y, expected = _tanh(fast), torch.tanh(exact)
    torch.autograd.backward([y, expected])
    assert fast.grad is not None
    assert exact.grad is not None
    assert abs(float((y - expected).detach())) < 1e-6
    assert abs(float(fast.grad) - float(exact.grad)) < 1e-6


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (ActorCritic(ObservationSpec((4, 84, 84), True), ACTION), "small images"),
        (ActorCritic(SPECS[0], ACTION, lstm_size=8), "without memory"),
        (ActorCritic(SPECS[0], ActionSpec(2, False)), "one discrete action"),
    ],
)
def test_other_networks_are_refused(network: ActorCritic, words: str) -> None:
    with pytest.raises(UserError, match=words):
        StackedNetwork(network)
