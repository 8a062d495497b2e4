"""Actor-critic network: a torso, an optional recurrent core, a policy and a value head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gala_rl.models.core import LSTMCore
from gala_rl.models.network import Decision, Network, PolicyOutput, required
from gala_rl.models.normalization import RunningMoments
from gala_rl.models.observation_torso import TorsoSettings, make_torso, torso_features
from gala_rl.models.policies import (
    CategoricalPolicy,
    GaussianPolicy,
    MultiCategoricalPolicy,
    Policy,
)
from gala_rl.models.torsos import ConvTorso, orthogonal
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Activations

_DEFAULT_TORSO = TorsoSettings()


class Evaluation(NamedTuple):
    """Log π(a|x), entropy and V(x) of a rollout, each [N], with gradient.

    `state` [B, S] is the recurrent state after the last observation, without gradient.
    """

    log_probs: Tensor
    entropies: Tensor
    values: Tensor
    state: Tensor


class ActorCritic(Network):
    """Policy π(a|x) and value V(x) of observations [N, ...].

    By default, policy and value share one torso on images, as in the papers. On vectors each has
    its own: in a small shared torso the value error disturbs the policy. A recurrent network always
    shares its torso and core, since it has one state.

    Args:
        observation: shape and kind of one observation.
        action: kind and number of actions.
        lstm_size: units of an LSTM between torso and heads; default: none.
        bfloat16: compute torsos in bfloat16. Parameters, core, heads and losses stay float32.
        torso: settings of the torsos.
        normalize_observations: normalise vectors by their running moments.
        normalize_rewards: include the moments by which rewards are scaled.

    Attributes:
        core: the LSTM; None in a network without memory.
    """

    def __init__(
        self,
        observation: ObservationSpec,
        action: ActionSpec,
        *,
        lstm_size: int | None = None,
        bfloat16: bool = False,
        torso: TorsoSettings = _DEFAULT_TORSO,
        normalize_observations: bool = False,
        normalize_rewards: bool = False,
    ) -> None:
        super().__init__()
        if normalize_observations and observation.has_pixels:
            raise ValueError("pixels have one scale already: only vectors are normalised")
        self._bfloat16 = bfloat16
        self.torso = make_torso(observation, torso)
        is_shared = observation.has_pixels if torso.is_shared is None else torso.is_shared
        has_one = is_shared or lstm_size is not None
        self.value_torso = None if has_one else make_torso(observation, torso)
        self.core = None if lstm_size is None else LSTMCore(self.torso.features, lstm_size)
        features = self.torso.features if self.core is None else self.core.features
        self.state_size = 0 if self.core is None else self.core.state_size
        self._policy: Policy
        if action.sizes:
            self._policy = MultiCategoricalPolicy(features, action.sizes)
        elif action.is_discrete:
            self._policy = CategoricalPolicy(features, action.size)
        else:
            self._policy = GaussianPolicy(features, action.size)
        self._value = orthogonal(nn.Linear(features, 1), 1.0)
        moments = RunningMoments(observation.size) if normalize_observations else None
        self.observation_moments = moments
        self.sum_moments = RunningMoments(1) if normalize_rewards else None

    def forward(self, observations: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the policy's output and the values V(x) [N] of observations [N, ...].

        The output parametrises the distribution over actions: unnormalised log-probabilities [N, K]
        of K discrete actions, or [N, A, K] of A such choices; means [N, A] of continuous actions.
        A recurrent network updates its state [N, S] in place.
        """
        features = self._acting_features(observations, state)
        output: Tensor = self._policy(features)
        if self.value_torso is not None:
            features = self._features(self.value_torso, observations)
        return output, self._value(features).squeeze(-1)

    def allocate_activations(self, steps: int, observations: Tensor) -> Activations | None:
        """Return memory for activations that `act` records over T steps on observations [B, ...].

        None for vectors and in bfloat16, where a second forward pass costs less than recording
        the first, and for the deep torso, which does not record.
        """
        if self._bfloat16 or not isinstance(self.torso, ConvTorso):
            return None
        return self.torso.allocate(steps, observations)

    def act(
        self,
        observations: Tensor,
        generator: torch.Generator,
        state: Tensor | None = None,
        record: Activations | None = None,
    ) -> Tensor:
        """See `Network.act`."""
        return self._policy.sample(self._acting_features(observations, state, record), generator)

    @torch.no_grad()
    def act_and_evaluate(
        self, observations: Tensor, generator: torch.Generator, state: Tensor | None = None
    ) -> PolicyOutput:
        """See `Network.act_and_evaluate`."""
        features = self._acting_features(observations, state)
        actions = self._policy.sample(features, generator)
        log_probs, _ = self._policy.log_prob_and_entropy(features, actions)
        if self.value_torso is not None:
            features = self._features(self.value_torso, observations)
        return PolicyOutput(actions, log_probs, self._value(features).squeeze(-1))

    def decide(self, observations: Tensor, state: Tensor | None = None) -> Decision:
        """See `Network.decide`: the most probable actions."""
        outputs: Tensor = self._policy(self._acting_features(observations, state))
        return Decision(self._policy.mode(outputs), outputs)

    def values(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        """See `Network.values`."""
        torso = self.torso if self.value_torso is None else self.value_torso
        features = self._features(torso, observations)
        if self.core is not None:
            features, _ = self.core(features, required(state))
        values: Tensor = self._value(features).squeeze(-1)
        return values

    def evaluate(
        self,
        observations: Tensor,
        actions: Tensor,
        state: Tensor | None = None,
        is_first: Tensor | None = None,
        recorded: Activations | None = None,
    ) -> Evaluation:
        """Return log π(a|x), entropy and V(x), each [N], in at most one pass over the torso.

        N = T * B, time-major. A recurrent network is unrolled from `state` with the current
        parameters, not those with which it acted; others need neither `state` nor `is_first`.

        Args:
            observations: [N, ...].
            actions: [N] or [N, A].
            state: [B, S] before the first observations.
            is_first: [T, B] observations before which the state is reset to zero.
            recorded: [N, ...] activations on these observations with the present parameters, if
                `act` has recorded them; they replace the pass over the torso.
        """
        if recorded is None:
            features = self._features(self.torso, observations)
        else:
            assert isinstance(self.torso, ConvTorso)
            features = self.torso.replay(recorded)
        if self.core is not None:
            features, state = self.core(features, required(state), is_first)
        if state is None:
            state = self.initial_state(0)
        log_probs, entropies = self._policy.log_prob_and_entropy(features, actions)
        if self.value_torso is not None:
            features = self._features(self.value_torso, observations)
        return Evaluation(log_probs, entropies, self._value(features).squeeze(-1), state)

    def _acting_features(
        self, observations: Tensor, state: Tensor | None, record: Activations | None = None
    ) -> Tensor:
        if record is None:
            features = self._features(self.torso, observations)
        else:
            assert isinstance(self.torso, ConvTorso)
            features = self.torso.record(observations, record)
        if self.core is not None:
            state = required(state)
            features, after = self.core(features, state)
            state.copy_(after)
        return features

    def _features(self, torso: nn.Module, observations: Tensor) -> Tensor:
        if self.observation_moments is not None:
            observations = self.observation_moments.normalize(observations)
        return torso_features(torso, observations, bfloat16=self._bfloat16)
