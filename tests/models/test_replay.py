"""Replayed layers have the plain layers' outputs and, bit for bit, their gradients."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gala_rl.models.actor_critic import ActorCritic
from gala_rl.models.replay import replay_convolution_relu, replay_linear_relu
from gala_rl.models.torsos import ConvTorso
from gala_rl.spaces import ActionSpec, ObservationSpec

STEPS, SIMULATORS = 5, 4
SHAPE = (4, 84, 84)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def images(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        0, 256, (STEPS, SIMULATORS, *SHAPE), generator=generator, dtype=torch.uint8
    )


def gradients(module: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters())))


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        module = build()
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter, std=0.1)
    return module


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_replayed_convolution_has_the_gradients_of_the_plain_one(channels_last: bool) -> None:
    layer = seeded(lambda: nn.Conv2d(3, 8, 4, stride=2))
    assert isinstance(layer, nn.Conv2d)
    x = random(6, 3, 20, 22, seed=3)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    plain = F.relu(layer(x))
    weights = random(*plain.shape, seed=4)
    expected = torch.autograd.grad((plain * weights).sum(), [x, *layer.parameters()])
    replayed = replay_convolution_relu(x, layer, plain.detach())
    found = torch.autograd.grad((replayed * weights).sum(), [x, *layer.parameters()])
    assert torch.equal(replayed, plain)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_replayed_linear_layer_has_the_gradients_of_the_plain_one() -> None:
    layer = seeded(lambda: nn.Linear(7, 5))
    assert isinstance(layer, nn.Linear)
    x = random(6, 7, seed=3).requires_grad_()
    plain = F.relu(layer(x))
    weights = random(6, 5, seed=4)
    expected = torch.autograd.grad((plain * weights).sum(), [x, *layer.parameters()])
    replayed = replay_linear_relu(x, layer, plain.detach())
    found = torch.autograd.grad((replayed * weights).sum(), [x, *layer.parameters()])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_gradients_are_exactly_those_of_the_plain_network_with_the_same_activations() -> None:
    """The whole torso; the activations come from one pass over the batch, as autograd's do."""
    torso = seeded(lambda: ConvTorso(SHAPE))
    assert isinstance(torso, ConvTorso)
    batch = images().flatten(0, 1)
    weights = random(len(batch), 512, seed=5)
    features = torso(batch)
    expected = gradients(torso, (features * weights).sum())
    memory = torso.allocate(1, batch)
    recorded = torso.record(batch, memory.at(0))
    assert torch.equal(recorded, features)
    replayed = torso.replay(memory.flatten())
    assert torch.equal(replayed, features)
    for ours, theirs in zip(gradients(torso, (replayed * weights).sum()), expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("action", [ActionSpec(6, True), ActionSpec(2, False)])
def test_a_rollout_recorded_step_by_step_gives_the_update_of_a_second_pass(
    action: ActionSpec,
) -> None:
    model = seeded(lambda: ActorCritic(ObservationSpec(SHAPE, True), action))
    assert isinstance(model, ActorCritic)
    observations = images()
    memory = model.allocate_activations(STEPS, observations[0])
    assert memory is not None
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        actions = torch.stack(
            [model.act(observations[t], generator, record=memory.at(t)) for t in range(STEPS)]
        )
    flat = observations.flatten(0, 1), actions.flatten(0, 1)
    plain, replayed = model.evaluate(*flat), model.evaluate(*flat, recorded=memory.flatten())
    for ours, theirs in zip(replayed, plain, strict=True):
        # One batch or several: matrix products may round differently, no more.
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    losses = [(e.log_probs - e.values.square() + e.entropies).sum() for e in (plain, replayed)]
    for ours, theirs in zip(gradients(model, losses[1]), gradients(model, losses[0]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_recording_draws_the_same_actions() -> None:
    model = seeded(lambda: ActorCritic(ObservationSpec(SHAPE, True), ActionSpec(6, True)))
    assert isinstance(model, ActorCritic)
    observations = images()[0]
    memory = model.allocate_activations(1, observations)
    assert memory is not None
    plain = model.act(observations, torch.Generator().manual_seed(7))
    recorded = model.act(observations, torch.Generator().manual_seed(7), record=memory.at(0))
    assert torch.equal(plain, recorded)


def test_each_step_has_a_place_of_its_own() -> None:
    torso = seeded(lambda: ConvTorso(SHAPE))
    assert isinstance(torso, ConvTorso)
    observations = images()
    memory = torso.allocate(STEPS, observations[0])
    expected = torch.stack([torso(observations[t]) for t in range(STEPS)])
    for t in reversed(range(STEPS)):
        torso.record(observations[t], memory.at(t))
    assert torch.equal(memory.features, expected)
    assert memory.flatten().pixels.data_ptr() == memory.pixels.data_ptr(), "views, not copies"


def test_vectors_are_not_recorded() -> None:
    model = seeded(lambda: ActorCritic(ObservationSpec((3,), False), ActionSpec(2, True)))
    assert isinstance(model, ActorCritic)
    assert model.allocate_activations(STEPS, random(SIMULATORS, 3, seed=1)) is None
