"""The network that all peers train, as far as it is theirs to choose: the Nature torso."""

from torch import nn

FEATURES = 512


def make_torso(channels: int) -> nn.Sequential:
    """[N, channels, 84, 84] in 0 … 1 → [N, FEATURES]; 32 filters in the last convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 8, stride=4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(64, 32, 3, stride=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, FEATURES),
        nn.ReLU(),
    )
