"""The actor-critic network: one torso, a policy head and a value head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gala_rl.models.policies import CategoricalPolicy, GaussianPolicy, Policy
from gala_rl.models.residual import ResidualTorso
from gala_rl.models.torsos import ConvTorso, MLPTorso, orthogonal
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Activations


class Evaluation(NamedTuple):
    """What the loss needs of the observations and actions of a rollout; each [N]."""

    log_probs: Tensor
    entropies: Tensor
    values: Tensor


class Choice(NamedTuple):
    """Random actions [N] or [N, A], log π(a|x) [N] and V(x) [N], all from one pass."""

    actions: Tensor
    log_probs: Tensor
    values: Tensor


class ActorCritic(nn.Module):
    """Policy π(a|x) and value V(x) of observations [N, ...].

    Images share one torso between the two, as in the papers; vectors get a torso each, since
    small shared torsos let the value error disturb the policy.

    Args:
        observation: shape and kind of one observation.
        action: kind and number of actions.
        bfloat16: compute torsos in bfloat16. Parameters, heads and losses stay float32.
        deep: IMPALA's residual torso for images, instead of three convolutions.
    """

    def __init__(
        self,
        observation: ObservationSpec,
        action: ActionSpec,
        *,
        bfloat16: bool = False,
        deep: bool = False,
    ) -> None:
        super().__init__()
        self._bfloat16 = bfloat16
        self.torso: nn.Module
        self.value_torso: nn.Module | None
        if observation.is_image:
            self.torso = (ResidualTorso if deep else ConvTorso)(observation.shape)
            self.value_torso = None
        else:
            self.torso = MLPTorso(observation.size)
            self.value_torso = MLPTorso(observation.size)
        features: int = self.torso.features
        self._policy: Policy
        if action.is_discrete:
            self._policy = CategoricalPolicy(features, action.size)
        else:
            self._policy = GaussianPolicy(features, action.size)
        self._value = orthogonal(nn.Linear(features, 1), 1.0)

    def allocate_activations(self, steps: int, observations: Tensor) -> Activations | None:
        """Memory for what `sample` can record over T steps on observations [B, ...].

        None for vectors and in bfloat16, where the second forward pass costs less than keeping
        the first, and for the deep torso, which keeps none.
        """
        if self._bfloat16 or not isinstance(self.torso, ConvTorso):
            return None
        return self.torso.allocate(steps, observations)

    def sample(
        self,
        observations: Tensor,
        generator: torch.Generator,
        record: Activations | None = None,
    ) -> Tensor:
        """Random actions [N] or [N, A] for observations [N, ...].

        Args:
            observations: [N, ...].
            generator: source of randomness.
            record: [N, ...] where to keep the activations for `evaluate`; then without gradient.
        """
        return self._policy.sample(self._acting_features(observations, record), generator)

    @torch.no_grad()
    def choose(
        self,
        observations: Tensor,
        generator: torch.Generator,
        record: Activations | None = None,
    ) -> Choice:
        """As `sample`, with what an off-policy or repeated update needs to know of the choice."""
        features = self._acting_features(observations, record)
        actions = self._policy.sample(features, generator)
        log_probs, _ = self._policy.log_prob_and_entropy(features, actions)
        if self.value_torso is not None:
            features = self._features(self.value_torso, observations)
        return Choice(actions, log_probs, self._value(features).squeeze(-1))

    def greedy(self, observations: Tensor) -> Tensor:
        """Most probable actions [N] or [N, A] for observations [N, ...]."""
        return self._policy.greedy(self._features(self.torso, observations))

    def values(self, observations: Tensor) -> Tensor:
        """V(x) [N] of observations [N, ...]."""
        torso = self.torso if self.value_torso is None else self.value_torso
        values: Tensor = self._value(self._features(torso, observations)).squeeze(-1)
        return values

    def evaluate(
        self, observations: Tensor, actions: Tensor, recorded: Activations | None = None
    ) -> Evaluation:
        """Log π(a|x), entropy and V(x), each [N], in one pass over the torso at most.

        Args:
            observations: [N, ...].
            actions: [N] or [N, A].
            recorded: [N, ...] activations on these observations with the present parameters, if
                `sample` has kept them; they stand in for the pass over the torso.
        """
        if recorded is None:
            features = self._features(self.torso, observations)
        else:
            assert isinstance(self.torso, ConvTorso)
            features = self.torso.replay(recorded)
        log_probs, entropies = self._policy.log_prob_and_entropy(features, actions)
        if self.value_torso is not None:
            features = self._features(self.value_torso, observations)
        return Evaluation(log_probs, entropies, self._value(features).squeeze(-1))

    def _acting_features(self, observations: Tensor, record: Activations | None) -> Tensor:
        if record is None:
            return self._features(self.torso, observations)
        assert isinstance(self.torso, ConvTorso)
        return self.torso.record(observations, record)

    def _features(self, torso: nn.Module, observations: Tensor) -> Tensor:
        device = observations.device.type
        # No cache of casted weights: a CUDA graph would go on using what it recorded.
        with torch.autocast(device, torch.bfloat16, self._bfloat16, cache_enabled=False):
            features: Tensor = torso(observations)
        return features.float()
