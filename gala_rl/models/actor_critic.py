"""The actor-critic network: a torso, a recurrent core if asked for, a policy and a value head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gala_rl.models.core import LSTMCore
from gala_rl.models.normalization import RunningMoments
from gala_rl.models.policies import (
    CategoricalPolicy,
    GaussianPolicy,
    MultiCategoricalPolicy,
    Policy,
)
from gala_rl.models.residual import ResidualTorso
from gala_rl.models.torsos import ConvTorso, MLPTorso, PartsTorso, orthogonal
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Activations, Past


class Evaluation(NamedTuple):
    """What the loss needs of the observations and actions of a rollout; each [N].

    `state` [B, S] is that of a recurrent network after the last observation, without gradient.
    """

    log_probs: Tensor
    entropies: Tensor
    values: Tensor
    state: Tensor | None = None


class Choice(NamedTuple):
    """Random actions [N] or [N, A], log π(a|x) [N] and V(x) [N], all from one pass."""

    actions: Tensor
    log_probs: Tensor
    values: Tensor


class ActorCritic(nn.Module):
    """Policy π(a|x) and value V(x) of observations [N, ...].

    Images share one torso between the two, as in the papers; vectors get a torso each, since
    small shared torsos let the value error disturb the policy. A recurrent network shares torso,
    core and so its state in any case.

    A recurrent network needs its state [N, S] before the observations, S = `core.state_size`; all
    that act move it on in place, to what it is after them. Others have none.

    Args:
        observation: shape and kind of one observation.
        action: kind and number of actions.
        lstm_size: units of an LSTM between torso and heads; default: none.
        bfloat16: compute torsos in bfloat16. Parameters, core, heads and losses stay float32.
        deep: IMPALA's residual torso for images, instead of three convolutions.
        normalize_observations: let torsos see vectors by their running moments.
        normalize_rewards: have room for the moments by which rewards are scaled.

    Attributes:
        core: the LSTM; None in a network without state.
        observation_moments: of the observations; None where they are seen as they are.
        sum_moments: of discounted sums of rewards; None where rewards are taken as they are.
    """

    def __init__(
        self,
        observation: ObservationSpec,
        action: ActionSpec,
        *,
        lstm_size: int | None = None,
        bfloat16: bool = False,
        deep: bool = False,
        normalize_observations: bool = False,
        normalize_rewards: bool = False,
    ) -> None:
        super().__init__()
        if normalize_observations and observation.has_pixels:
            raise ValueError("pixels have one scale already: only vectors are normalised")
        self._bfloat16 = bfloat16
        self.torso = _torso(observation, deep)
        shares = lstm_size is not None or not isinstance(self.torso, MLPTorso)
        self.value_torso = None if shares else _torso(observation, deep)
        self.core = None if lstm_size is None else LSTMCore(self.torso.features, lstm_size)
        features = self.torso.features if self.core is None else self.core.features
        self._policy: Policy
        if action.sizes:
            self._policy = MultiCategoricalPolicy(features, action.sizes)
        elif action.is_discrete:
            self._policy = CategoricalPolicy(features, action.size)
        else:
            self._policy = GaussianPolicy(features, action.size)
        self._value = orthogonal(nn.Linear(features, 1), 1.0)
        moments = RunningMoments(observation.size) if normalize_observations else None
        self.observation_moments: RunningMoments | None = moments
        self.sum_moments: RunningMoments | None = RunningMoments(1) if normalize_rewards else None

    def forward(self, observations: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the policy's output and the values V(x) [N] of observations [N, ...].

        The output is what the distribution over actions is made of: unnormalised log-probabilities
        [N, K] of K discrete actions, or [N, A, K] of A such choices; means [N, A] of continuous
        actions. A recurrent network moves its state [N, S] on, as in `greedy`.
        """
        features = self._acting_features(observations, None, state)
        output: Tensor = self._policy(features)
        if self.value_torso is not None:
            features = self._features(self.value_torso, observations)
        return output, self._value(features).squeeze(-1)

    def initial_state(self, count: int) -> Tensor | None:
        """The state [N, S] at the start of `count` episodes, zero; None in a network without."""
        if self.core is None:
            return None
        device = self._value.weight.device
        return torch.zeros(count, self.core.state_size, dtype=torch.float32, device=device)

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
        state: Tensor | None = None,
    ) -> Tensor:
        """Random actions [N] or [N, A] for observations [N, ...].

        Args:
            observations: [N, ...].
            generator: source of randomness.
            record: [N, ...] where to keep the activations for `evaluate`; then without gradient.
            state: [N, S] of a recurrent network, moved on.
        """
        return self._policy.sample(self._acting_features(observations, record, state), generator)

    @torch.no_grad()
    def choose(
        self,
        observations: Tensor,
        generator: torch.Generator,
        record: Activations | None = None,
        state: Tensor | None = None,
    ) -> Choice:
        """As `sample`, with what an off-policy or repeated update needs to know of the choice."""
        features = self._acting_features(observations, record, state)
        actions = self._policy.sample(features, generator)
        log_probs, _ = self._policy.log_prob_and_entropy(features, actions)
        if self.value_torso is not None:
            features = self._features(self.value_torso, observations)
        return Choice(actions, log_probs, self._value(features).squeeze(-1))

    def greedy(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        """Most probable actions [N] or [N, A] for observations [N, ...]; moves the state on."""
        return self._policy.greedy(self._acting_features(observations, None, state))

    def values(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        """V(x) [N] of observations [N, ...]; leaves the state [N, S] before them as it is."""
        torso = self.torso if self.value_torso is None else self.value_torso
        features = self._features(torso, observations)
        if self.core is not None:
            features, _ = self.core(features, _needed(state))
        values: Tensor = self._value(features).squeeze(-1)
        return values

    def evaluate(
        self,
        observations: Tensor,
        actions: Tensor,
        recorded: Activations | None = None,
        past: Past | None = None,
    ) -> Evaluation:
        """Log π(a|x), entropy and V(x), each [N], in one pass over the torso at most.

        A recurrent network is unrolled from `past`, whatever the parameters were when it acted:
        then N = T * B, time-major, of any T and B.

        Args:
            observations: [N, ...].
            actions: [N] or [N, A].
            recorded: [N, ...] activations on these observations with the present parameters, if
                `sample` has kept them; they stand in for the pass over the torso.
            past: of the T steps and B simulators; a recurrent network needs it.
        """
        if recorded is None:
            features = self._features(self.torso, observations)
        else:
            assert isinstance(self.torso, ConvTorso)
            features = self.torso.replay(recorded)
        after = None
        if self.core is not None:
            if past is None:
                raise ValueError("a recurrent network is unrolled from a state: give it its past")
            features, after = self.core(features, past.state, past.begins)
        log_probs, entropies = self._policy.log_prob_and_entropy(features, actions)
        if self.value_torso is not None:
            features = self._features(self.value_torso, observations)
        return Evaluation(log_probs, entropies, self._value(features).squeeze(-1), after)

    def _acting_features(
        self, observations: Tensor, record: Activations | None, state: Tensor | None
    ) -> Tensor:
        if record is None:
            features = self._features(self.torso, observations)
        else:
            assert isinstance(self.torso, ConvTorso)
            features = self.torso.record(observations, record)
        if self.core is not None:
            state = _needed(state)
            features, after = self.core(features, state)
            state.copy_(after)
        return features

    def _features(self, torso: nn.Module, observations: Tensor) -> Tensor:
        if self.observation_moments is not None:
            observations = self.observation_moments.normalize(observations)
        device = observations.device.type
        # No cache of casted weights: a CUDA graph would go on using what it recorded.
        with torch.autocast(device, torch.bfloat16, self._bfloat16, cache_enabled=False):
            features: Tensor = torso(observations)
        return features.float()


def _torso(
    observation: ObservationSpec, deep: bool
) -> ConvTorso | ResidualTorso | PartsTorso | MLPTorso:
    if observation.is_image:
        return ResidualTorso(observation.shape) if deep else ConvTorso(observation.shape)
    if observation.has_pixels:
        return PartsTorso(observation.parts)
    return MLPTorso(observation.size)


def _needed(state: Tensor | None) -> Tensor:
    if state is None:
        raise ValueError("a recurrent network acts from a state: give it the one before")
    return state
