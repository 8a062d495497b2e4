"""Functions that build networks for observations, right and wrong ones, by module:function."""

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from gala_rl.spaces import ObservationSpec


def mlp(observation: ObservationSpec) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(observation.size, 12), nn.LayerNorm(12), nn.ELU())


def lazy(observation: ObservationSpec) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10), nn.ReLU())


def convolutions(observation: ObservationSpec) -> nn.Module:
    channels = observation.shape[0]
    return nn.Sequential(nn.Conv2d(channels, 4, 5, stride=4), nn.ReLU(), nn.Flatten())


class Torso(nn.Module):
    """A class is a function that builds its objects; one layer of it stays as it is."""

    def __init__(self, observation: ObservationSpec) -> None:
        super().__init__()
        self.fixed = nn.Linear(observation.size, 9).requires_grad_(False)
        self.learned = nn.Linear(9, 6)

    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = torch.tanh(self.learned(self.fixed(observations)))
        return features


class Maker:
    @staticmethod
    def inner(observation: ObservationSpec) -> nn.Module:
        return mlp(observation)


class Wrong(nn.Module):
    """Computes features from those of a layer, in a way that is wrong."""

    def __init__(self, observation: ObservationSpec) -> None:
        super().__init__()
        self.layer = nn.Linear(observation.size, 4)


class Changing(Wrong):
    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.layer(observations.mul_(2.0))
        return features


class Counting(Wrong):
    def forward(self, observations: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        features: Tensor = self.layer(observations) + self.calls
        return features


class Averaging(Wrong):
    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.layer(observations)
        return features - features.mean(dim=0)


class Infinite(Wrong):
    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.layer(observations) / 0.0
        return features


class Unbatched(Wrong):
    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.layer(observations)[0]
        return features


class Double(Wrong):
    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.layer(observations)
        return features.double()


class Pair(Wrong):
    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.layer(observations)
        return features, features


class Failing(Wrong):
    def forward(self, observations: Tensor) -> Tensor:
        raise RuntimeError("no such luck")


class Tied(Wrong):
    def __init__(self, observation: ObservationSpec) -> None:
        super().__init__(observation)
        self.other = nn.Linear(observation.size, 4)
        self.other.weight = self.layer.weight

    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.layer(observations) + self.other(observations)
        return features


class Unused(Wrong):
    def __init__(self, observation: ObservationSpec) -> None:
        super().__init__(observation)
        self.lazy = nn.LazyLinear(3)

    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.layer(observations)
        return features


def nothing(observation: ObservationSpec) -> None:
    return None


def a_class(observation: ObservationSpec) -> type[nn.Module]:
    return Torso


def raises(observation: ObservationSpec) -> nn.Module:
    raise ValueError("no such luck")


def takes_nothing() -> nn.Module:
    return nn.Flatten()


def without_parameters(observation: ObservationSpec) -> nn.Module:
    return nn.Flatten()


class InDouble(Wrong):
    def __init__(self, observation: ObservationSpec) -> None:
        super().__init__(observation)
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.layer(observations) * self.scale.float()
        return features


def with_batch_norm(observation: ObservationSpec) -> nn.Module:
    return nn.Sequential(nn.Linear(observation.size, 4), nn.BatchNorm1d(4))


def with_dropout(observation: ObservationSpec) -> nn.Module:
    return nn.Sequential(nn.Linear(observation.size, 40), nn.Dropout(0.5))


ALWAYS_THE_SAME = nn.Linear(4, 4)


def the_same(observation: ObservationSpec) -> nn.Module:
    return ALWAYS_THE_SAME


SEEDS = itertools.count()


def unseeded(observation: ObservationSpec) -> nn.Module:
    layer = nn.Linear(observation.size, 4)
    weight = np.random.default_rng(next(SEEDS)).normal(size=layer.weight.shape)
    layer.weight.data = torch.from_numpy(weight).float()
    return layer


NO_FUNCTION = 3
