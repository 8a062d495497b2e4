"""Torsos: from an observation to a feature vector."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from gala_rl.models.replay import replay_convolution_relu, replay_linear_relu
from gala_rl.spaces import HIDDEN, SHALLOW_SIDE, Activation, ObservationSpec
from gala_rl.trajectory import Activations

IMAGES_AT_ONCE = 128
"""Most images per convolution on a CPU, so that each layer's output fits into reused memory (see
`keep_freed_memory`, whose largest block is 32 MiB). A GPU convolves all at once."""

_ACTIVATIONS: Mapping[Activation, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}

_Layer = TypeVar("_Layer", bound=nn.Linear | nn.Conv2d)


def orthogonal(layer: _Layer, gain: float) -> _Layer:
    """Initialise a layer with orthogonal weights of the given gain and zero bias; returns it."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Convolution(NamedTuple):
    """A convolution without padding: filters, side of a filter, stride."""

    filters: int
    size: int
    stride: int


SHALLOW = (Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(32, 3, 1))
"""Convolutions of GALA's network: those of "Human-level control through deep reinforcement
learning", Mnih et al. 2015, with 32 instead of 64 filters in the last one; 512 units follow."""

SMALL = (Convolution(16, 3, 1),)
"""Convolution for images of 10 x 10 planes: "MinAtar: An Atari-Inspired Testbed for Thorough and
Reproducible Reinforcement Learning Experiments", Young and Tian 2019; 128 units follow."""

UNITS = {SHALLOW: 512, SMALL: 128}
"""Units of the linear layer that follows the convolutions, as published."""


def convolutions_for(shape: Sequence[int]) -> tuple[Convolution, ...]:
    """Return the convolutions for images (channels, height, width) by their size."""
    return SMALL if min(shape[1:]) < SHALLOW_SIDE else SHALLOW


class ConvTorso(nn.Module):
    """Convolutions and a linear layer on images, ReLU throughout.

    Weights and activations are channels-last, which is 1.3 to 2.5 times as fast on one CPU thread.

    Args:
        shape: (channels, height, width) of an observation.
        features: size of the output; None: as published.
        convolutions: its convolutions; None: `convolutions_for` the shape.
    """

    def __init__(
        self,
        shape: Sequence[int],
        features: int | None = None,
        convolutions: tuple[Convolution, ...] | None = None,
    ) -> None:
        super().__init__()
        gain = nn.init.calculate_gain("relu")
        convolutions = convolutions or convolutions_for(shape)
        self.features = features or UNITS[convolutions]
        layers: list[nn.Module] = []
        channels = shape[0]
        for filters, size, stride in convolutions:
            layers += [orthogonal(nn.Conv2d(channels, filters, size, stride), gain), nn.ReLU()]
            channels = filters
        self.convolutions = nn.Sequential(*layers)
        for parameter in self.convolutions.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            size = self.convolutions(torch.zeros(1, *shape)).numel()
        self.linear = orthogonal(nn.Linear(size, self.features), gain)

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] of any number type, in 0 … 255 → [N, features]."""
        return torch.relu(self.linear(convolved(self.convolutions, images)))

    @torch.no_grad()
    def allocate(self, steps: int, images: Tensor) -> Activations:
        """Return memory for the activations of T steps on images [B, C, H, W]."""

        def empty(like: Tensor) -> Tensor:
            batch, channels, height, width = like.shape
            memory = torch.zeros(steps, batch, height, width, channels, device=images.device)
            return memory.permute(0, 1, 4, 2, 3)

        x = torch.zeros(images.shape, device=images.device)
        pixels, convolutions = empty(x), []
        for layer in self._convolution_layers():
            x = layer(x)
            convolutions.append(empty(x))
        features = torch.zeros(steps, len(images), self.features, device=images.device)
        return Activations(pixels, tuple(convolutions), features)

    @torch.no_grad()
    def record(self, images: Tensor, into: Activations) -> Tensor:
        """Compute features of one step without gradient, and record what `replay` needs.

        Args:
            images: [B, C, H, W] uint8.
            into: [B, ...] memory of one step.

        Returns:
            [B, features] part of that memory.
        """
        write_pixels(images, into.pixels)
        x = into.pixels
        for layer, output in zip(self._convolution_layers(), into.convolutions, strict=True):
            # The ReLU writes its result anyway: keeping it costs no further pass.
            x = torch.clamp_min(layer(x), 0.0, out=output)
        features: Tensor = torch.addmm(
            self.linear.bias, flattened(x), self.linear.weight.t(), out=into.features
        )
        return features.relu_()

    def replay(self, recorded: Activations) -> Tensor:
        """Return the recorded features [N, features], with the gradient that `forward` would have.

        Args:
            recorded: [N, ...] with the present parameters.
        """
        x = recorded.pixels
        for layer, output in zip(self._convolution_layers(), recorded.convolutions, strict=True):
            x = replay_convolution_relu(x, layer, output)
        return replay_linear_relu(flattened(x), self.linear, recorded.features)

    def _convolution_layers(self) -> Iterator[nn.Conv2d]:
        return (layer for layer in self.convolutions if isinstance(layer, nn.Conv2d))


def convolved(layers: nn.Module, images: Tensor) -> Tensor:
    """Return the output of convolutions on images, flattened.

    Args:
        layers: from pixels [n, C, H, W] to an image [n, C', H', W'].
        images: [N, C, H, W] of any number type, in 0 … 255.

    Returns:
        [N, H' * W' * C'].
    """
    if torch.compiler.is_exporting():  # Another runtime has its own ways to be fast.
        return flattened(layers(images.to(torch.float32) * (1.0 / 255.0)))
    parts = (images,) if images.is_cuda else torch.split(images, IMAGES_AT_ONCE)
    flat = [flattened(layers(_pixels_of(part))) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def _pixels_of(images: Tensor) -> Tensor:
    """Return images as `write_pixels` writes them, in new memory."""
    pixels = torch.empty(
        images.shape,
        dtype=torch.float32,
        device=images.device,
        memory_format=torch.channels_last,
    )
    write_pixels(images, pixels)
    return pixels


def flattened(x: Tensor) -> Tensor:
    """[N, C, H, W] → [N, H * W * C]: the order in memory, so a view and not a copy."""
    return x.permute(0, 2, 3, 1).flatten(1)


def write_pixels(images: Tensor, pixels: Tensor) -> None:
    """[N, C, H, W] in 0 … 255 → `pixels` [N, C, H, W] in 0 … 1, float32, channels-last."""
    if images.is_cuda:
        torch.mul(images, 1.0 / 255.0, out=pixels)
        return
    # Channel by channel: one conversion of everything goes over memory in the wrong order and
    # takes three times as long.
    for channel in range(images.shape[1]):
        pixels[:, channel].copy_(images[:, channel])
    pixels.mul_(1.0 / 255.0)


class MLPTorso(nn.Module):
    """Fully connected layers on vectors: two of tanh units by default.

    Args:
        size: length of an observation.
        hidden: units of each layer.
        activation: activation of each layer.
    """

    def __init__(
        self, size: int, hidden: Sequence[int] = HIDDEN, activation: Activation = "tanh"
    ) -> None:
        super().__init__()
        self.features = hidden[-1]
        self._size = size
        layers: list[nn.Module] = []
        for inputs, units in pairwise((size, *hidden)):
            linear = orthogonal(nn.Linear(inputs, units), math.sqrt(2))
            layers += [linear, _ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers)

    def forward(self, vectors: Tensor) -> Tensor:
        """[N, ...] of any number type → [N, features]."""
        features: Tensor = self.layers(vectors.to(torch.float32).reshape(-1, self._size))
        return features


class PartsTorso(nn.Module):
    """Observations of several parts: each image has convolutions, all vectors share an MLP.

    Their features together pass one more layer, with ReLU.

    Args:
        parts: parts of the observation, concatenated in this order.
        features: size of the output.
        hidden: units of each layer of the MLP.
        activation: activation of each of these layers.
    """

    def __init__(
        self,
        parts: Sequence[ObservationSpec],
        features: int = 256,
        hidden: Sequence[int] = HIDDEN,
        activation: Activation = "tanh",
    ) -> None:
        super().__init__()
        self.features = features
        self._parts = tuple(parts)
        images = [ConvTorso(part.shape, features) for part in parts if part.is_image]
        self.images = nn.ModuleList(images)
        numbers = sum(part.size for part in parts if not part.is_image)
        self.vectors = MLPTorso(numbers, hidden, activation) if numbers else None
        joined = sum(torso.features for torso in images)
        joined += 0 if self.vectors is None else self.vectors.features
        self.linear = orthogonal(nn.Linear(joined, features), nn.init.calculate_gain("relu"))

    def forward(self, observations: Tensor) -> Tensor:
        """[N, all parts] → [N, features]."""
        pieces = torch.split(observations, [part.size for part in self._parts], dim=-1)
        images, vectors = [], []
        for part, piece in zip(self._parts, pieces, strict=True):
            if part.is_image:
                images.append(piece.reshape(-1, *part.shape))
            else:
                vectors.append(piece)
        features = [torso(image) for torso, image in zip(self.images, images, strict=True)]
        if self.vectors is not None:
            features.append(self.vectors(torch.cat(vectors, dim=-1)))
        return torch.relu(self.linear(torch.cat(features, dim=-1)))
