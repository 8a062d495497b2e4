"""Policy heads: from features to a distribution over actions."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from gala_rl.models.torsos import orthogonal


class Policy(Protocol):
    """A distribution over actions given features [N, F]."""

    def sample(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """[N, F] → random actions [N] or [N, A]."""

    def mode(self, outputs: Tensor) -> Tensor:
        """Parameters of the distribution → the most probable actions [N] or [N, A]."""

    def log_prob_and_entropy(self, features: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """[N, F], [N] or [N, A] → log π(a|x) [N] and entropy [N]."""

    def __call__(self, features: Tensor) -> Tensor:
        """[N, F] → the parameters of the distribution."""


class CategoricalPolicy(nn.Module):
    """Discrete actions 0 … actions - 1."""

    def __init__(self, features: int, actions: int) -> None:
        super().__init__()
        self.logits = orthogonal(nn.Linear(features, actions), 0.01)

    def forward(self, features: Tensor) -> Tensor:
        """Return unnormalised log-probabilities [N, actions]."""
        logits: Tensor = self.logits(features)
        return logits

    def sample(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """See `Policy.sample`."""
        return sample_categorical(self(features), generator)

    def mode(self, outputs: Tensor) -> Tensor:
        """See `Policy.mode`."""
        return outputs.argmax(dim=-1)

    def log_prob_and_entropy(self, features: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Policy.log_prob_and_entropy`."""
        return categorical_log_prob_and_entropy(self(features), actions)


class MultiCategoricalPolicy(nn.Module):
    """Several discrete actions, chosen independently of each other given the features.

    All A of them come from one layer with max(sizes) outputs for each; those that stand for no
    action have probability 0.

    Args:
        features: size of the input.
        sizes: number of choices of each action.
    """

    _missing: Tensor

    def __init__(self, features: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.logits = orthogonal(nn.Linear(features, len(sizes) * max(sizes)), 0.01)
        missing = torch.arange(max(sizes)) >= torch.tensor(sizes).unsqueeze(-1)
        self.register_buffer("_missing", missing, persistent=False)
        self._is_ragged = len(set(sizes)) > 1

    def forward(self, features: Tensor) -> Tensor:
        """Return unnormalised log-probabilities [N, A, max(sizes)]."""
        logits: Tensor = self.logits(features).unflatten(-1, self._missing.shape)
        # Finite, since 0 times its logarithm must be 0.
        return logits.masked_fill(self._missing, -1e9) if self._is_ragged else logits

    def sample(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """See `Policy.sample`."""
        return sample_categorical(self(features), generator)

    def mode(self, outputs: Tensor) -> Tensor:
        """See `Policy.mode`."""
        return outputs.argmax(dim=-1)

    def log_prob_and_entropy(self, features: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Policy.log_prob_and_entropy`."""
        log_probs, entropies = categorical_log_prob_and_entropy(self(features), actions)
        return log_probs.sum(dim=-1), entropies.sum(dim=-1)


def sample_categorical(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return random choices [...], given unnormalised log-probabilities [..., K]."""
    probabilities = torch.softmax(logits, dim=-1)
    # An exponential race, as in torch.multinomial, whose checks may wait for the device.
    arrivals = torch.empty_like(probabilities).exponential_(generator=generator)
    return (probabilities / arrivals).argmax(dim=-1)


def categorical_log_prob_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Return both for categorical distributions [..., K] and actions [...]; each [...]."""
    log_probs = torch.log_softmax(logits, dim=-1)
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    return log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1), entropy


class GaussianPolicy(nn.Module):
    """Continuous actions: independent normals, mean from the features, deviation learned apart.

    Actions are unbounded here; simulators scale and clip them to their action space.
    """

    def __init__(self, features: int, actions: int) -> None:
        super().__init__()
        self.mean = orthogonal(nn.Linear(features, actions), 0.01)
        self.log_std = nn.Parameter(torch.zeros(actions))

    def forward(self, features: Tensor) -> Tensor:
        """Return means [N, A]."""
        mean: Tensor = self.mean(features)
        return mean

    def sample(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """See `Policy.sample`."""
        mean = self(features)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        actions: Tensor = mean + noise * self.log_std.exp()
        return actions

    def mode(self, outputs: Tensor) -> Tensor:
        """See `Policy.mode`."""
        return outputs

    def log_prob_and_entropy(self, features: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """See `Policy.log_prob_and_entropy`."""
        scaled = (actions - self(features)) * torch.exp(-self.log_std)
        constant = 0.5 * math.log(2 * math.pi) + self.log_std
        log_prob = -(0.5 * scaled.square() + constant).sum(dim=-1)
        entropy = (0.5 + constant).sum().expand(log_prob.shape)
        return log_prob, entropy
