"""Torsos compute the published networks; memory layout is an optimisation that shows nowhere."""

import math
from collections.abc import Callable
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gala_rl.models import torsos
from gala_rl.models.residual import ResidualTorso
from gala_rl.models.torsos import ConvTorso, MLPTorso, PartsTorso, orthogonal
from gala_rl.spaces import ObservationSpec


def random_images(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def conv_torso(*shape: int) -> ConvTorso:
    """A torso with random biases too, so that none can be forgotten unnoticed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        torso = ConvTorso(shape)
        for name, parameter in torso.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter)
    return torso


def plain_forward(torso: ConvTorso, images: Tensor) -> Tensor:
    """The same network in double precision, contiguous, flattened as channel, height, width."""
    parameters = [p.detach().double().contiguous() for p in torso.parameters()]
    x = images.double().contiguous() / 255
    for i, stride in enumerate((4, 2, 1)):
        x = F.relu(F.conv2d(x, parameters[2 * i], parameters[2 * i + 1], stride=stride))
    _, channels, height, width = x.shape
    weight, bias = parameters[6:]
    weight = weight.view(-1, height, width, channels).permute(0, 3, 1, 2).flatten(1)
    return F.relu(x.flatten(1) @ weight.T + bias)


@pytest.mark.parametrize("shape", [(4, 84, 84), (3, 44, 60)])
def test_convolutions_equal_a_plain_contiguous_network(shape: tuple[int, ...]) -> None:
    torso, images = conv_torso(*shape), random_images(3, *shape)
    features = torso(images)
    assert features.shape == (3, 512)
    assert 0.2 < (features > 0).float().mean() < 0.8
    torch.testing.assert_close(
        features.double(), plain_forward(torso, images), rtol=1e-4, atol=1e-4
    )


def test_the_layout_of_the_images_in_memory_does_not_matter() -> None:
    torso, images = conv_torso(4, 36, 40), random_images(2, 4, 36, 40)
    other = images.contiguous(memory_format=torch.channels_last)
    sliced = random_images(4, 4, 36, 40).copy_(images.repeat_interleave(2, dim=0))[::2]
    torch.testing.assert_close(torso(other), torso(images))
    torch.testing.assert_close(torso(sliced), torso(images))


@pytest.mark.parametrize("make", [ConvTorso, ResidualTorso])
def test_many_images_are_convolved_in_parts_with_the_same_features_and_gradients(
    make: Callable[..., ConvTorso | ResidualTorso],
) -> None:
    torso, images = make((4, 36, 40)), random_images(2 * torsos.IMAGES_AT_ONCE + 3, 4, 36, 40)
    weights = torch.randn(len(images), torso.features, generator=torch.Generator().manual_seed(3))

    def features_and_gradients() -> list[Tensor]:
        features = torso(images)
        return [features, *torch.autograd.grad((features * weights).sum(), [*torso.parameters()])]

    in_parts = features_and_gradients()
    with mock.patch.object(torsos, "IMAGES_AT_ONCE", len(images)):
        at_once = features_and_gradients()
    torch.testing.assert_close(in_parts, at_once, rtol=1e-3, atol=1e-3)


def test_pixels_are_scaled_to_one_and_left_as_they_were() -> None:
    torso = conv_torso(1, 36, 36)
    images = torch.full((1, 1, 36, 36), 255, dtype=torch.uint8)
    first = nn.Sequential(torso.convolutions[0], torso.convolutions[1])(torch.ones(1, 1, 36, 36))
    seen: list[Tensor] = []
    torso.convolutions[1].register_forward_hook(lambda _m, _i, output: seen.append(output))
    torso(images)
    torch.testing.assert_close(seen[0], first)
    assert set(images.flatten().tolist()) == {255}


def test_convolution_weights_are_channels_last() -> None:
    weights = [p for p in ConvTorso((4, 36, 36)).convolutions.parameters() if p.ndim == 4]
    assert len(weights) == 3
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


@pytest.mark.parametrize(
    "layer", [nn.Linear(7, 5), nn.Linear(5, 7), nn.Conv2d(3, 6, 2)], ids=["wide", "tall", "conv"]
)
def test_orthogonal_initialisation_has_the_gain_and_no_bias(layer: nn.Linear | nn.Conv2d) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        assert orthogonal(layer, 1.7) is layer
    matrix = layer.weight.detach().flatten(1)
    singular_values = torch.linalg.svdvals(matrix)
    torch.testing.assert_close(singular_values, torch.full_like(singular_values, 1.7))
    assert layer.bias is not None
    assert not layer.bias.any()


def test_vectors_pass_two_layers_of_tanh() -> None:
    torso = MLPTorso(3, (8, 8))
    vectors = torch.randn(5, 3, generator=torch.Generator().manual_seed(4))
    w1, b1, w2, b2 = (p.detach().double() for p in torso.parameters())
    expected = torch.tanh(torch.tanh(vectors.double() @ w1.T + b1) @ w2.T + b2)
    torch.testing.assert_close(torso(vectors).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.uint8, torch.bool])
def test_vectors_of_any_number_type_are_taken_as_numbers(dtype: torch.dtype) -> None:
    torso = MLPTorso(4)
    numbers = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 1]])
    assert torch.equal(torso(numbers.to(dtype)), torso(numbers.float()))


@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (1, 2, 3)])
def test_observations_of_any_number_of_axes_become_vectors(shape: tuple[int, ...]) -> None:
    size = math.prod(shape)
    torso = MLPTorso(size)
    observations = torch.arange(5.0 * size).view(5, *shape)
    assert torch.equal(torso(observations), torso(observations.view(5, size)))


def test_no_observations_give_no_features() -> None:
    assert MLPTorso(6)(torch.zeros(0, 2, 3)).shape == (0, 64)
    assert ConvTorso((1, 36, 36))(torch.zeros(0, 1, 36, 36, dtype=torch.uint8)).shape == (0, 512)


WIDE, TALL = ObservationSpec((1, 36, 44), True), ObservationSpec((2, 48, 36), True)
PARTS = (ObservationSpec((2,), False), WIDE, ObservationSpec((3, 2), False), TALL)


def test_each_part_reaches_its_own_network_as_it_was() -> None:
    torso, wide, tall = (
        PartsTorso(PARTS, 16),
        random_images(3, 1, 36, 44),
        random_images(3, 2, 48, 36),
    )
    first, second = torch.full((3, 2), -1.5), torch.arange(18.0).view(3, 6)
    vector = torch.cat((first, wide.flatten(1), second, tall.flatten(1)), dim=-1)
    assert vector.shape[1] == sum(part.size for part in PARTS)
    seen: list[Tensor] = []
    assert torso.vectors is not None
    for network in (*torso.images, torso.vectors):
        network.register_forward_hook(lambda _m, args, _o: seen.append(args[0]))
    features = torso(vector)
    assert features.shape == (3, 16)
    for given, expected in zip(seen, (wide, tall, torch.cat((first, second), -1)), strict=True):
        assert torch.equal(given, expected.float())
    joined = [torso.images[0](wide), torso.images[1](tall), torso.vectors(seen[2])]
    expected = torch.relu(torso.linear(torch.cat(joined, dim=-1)))
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("part", range(4))
def test_every_part_has_an_effect_and_a_gradient(part: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        torso = PartsTorso(PARTS)
    vector = torch.rand(2, sum(spec.size for spec in PARTS)).requires_grad_()
    (gradient,) = torch.autograd.grad(torso(vector).sum(), vector)
    start = sum(spec.size for spec in PARTS[:part])
    assert gradient[:, start : start + PARTS[part].size].any()


def test_images_without_vectors_are_parts_too() -> None:
    torso = PartsTorso((WIDE, TALL))
    assert torso.vectors is None
    assert torso(torch.zeros(0, WIDE.size + TALL.size)).shape == (0, torso.features)
