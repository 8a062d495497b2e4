"""The deep torso of IMPALA: a residual network on images."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gala_rl.models.torsos import convolved, orthogonal

_CHANNELS = (16, 32, 32)


class ResidualTorso(nn.Module):
    """15 convolutions in three sections and a linear layer, 256 units.

    A section is a convolution, a max-pooling that halves height and width, and two residual
    blocks x + conv(relu(conv(relu(x)))); all convolutions are 3x3. "IMPALA: Scalable Distributed
    Deep-RL with Importance Weighted Actor-Learner Architectures", Espeholt et al. 2018, figure 3
    (right), without the LSTM. Weights and activations are channels-last.

    Args:
        shape: (channels, height, width) of an observation.
        features: size of the output.
    """

    def __init__(self, shape: Sequence[int], features: int = 256) -> None:
        super().__init__()
        self.features = features
        channels = (shape[0], *_CHANNELS)
        self.sections = nn.Sequential(*(_section(i, o) for i, o in pairwise(channels)))
        for parameter in self.sections.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            size = self.sections(torch.zeros(1, *shape)).numel()
        self.linear = orthogonal(nn.Linear(size, features), nn.init.calculate_gain("relu"))

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] uint8 in 0 … 255 → [N, features]."""
        return torch.relu(self.linear(torch.relu(convolved(self.sections, images))))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(channels, channels), _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.second(torch.relu(self.first(torch.relu(x))))
        return x + hidden


def _section(before: int, channels: int) -> nn.Sequential:
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(
        _convolution(before, channels), pool, _Residual(channels), _Residual(channels)
    )


def _convolution(before: int, channels: int) -> nn.Conv2d:
    # Gain 1: a block adds to its input, and must not outweigh it.
    return orthogonal(nn.Conv2d(before, channels, 3, padding=1), 1.0)
