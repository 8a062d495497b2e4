"""Q-network: a torso, an optional recurrent core and duelling heads, for ε-greedy actors."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gala_rl.losses.q_learning import chosen
from gala_rl.models.core import LSTMCore
from gala_rl.models.exploration import (
    EVALUATION_EPSILON,
    epsilon_greedy,
    epsilon_greedy_log_probs,
)
from gala_rl.models.network import Decision, Network, PolicyOutput, required
from gala_rl.models.observation_torso import TorsoSettings, make_torso, torso_features
from gala_rl.models.torsos import orthogonal
from gala_rl.replay import SequenceBatch
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Activations

_DEFAULT_TORSO = TorsoSettings()

PIXEL_UNITS, VECTOR_UNITS = 512, 64
"""Units of the hidden layer of each head: as published for images, and ours for vectors."""


class Support(NamedTuple):
    """Atoms of a categorical network, at equal distances: their number, the first and the last."""

    atoms: int
    lowest: float
    highest: float


class DuellingHeads(nn.Module):
    """Q(x, a) = V(x) + A(x, a) - mean_a A(x, a), or the same for the logits of every atom.

    "Dueling Network Architectures for Deep Reinforcement Learning", Wang et al. 2016, equation 9;
    "Rainbow", Hessel et al. 2018, for atoms.

    Args:
        features: F, size of the input.
        actions: A.
        units: units of the hidden layer of each of the two heads.
        atoms: Z numbers per action.
    """

    def __init__(self, features: int, actions: int, units: int, atoms: int = 1) -> None:
        super().__init__()
        self._shape = (actions, atoms)
        self.value = _head(features, units, atoms)
        self.advantage = _head(features, units, actions * atoms)

    def forward(self, features: Tensor) -> Tensor:
        """[N, F] → [N, A, Z]."""
        values = self.value(features).unsqueeze(-2)
        advantages = self.advantage(features).unflatten(-1, self._shape)
        q_values: Tensor = values + advantages - advantages.mean(dim=-2, keepdim=True)
        return q_values


class QNetwork(Network):
    """Q(x, a) of discrete actions, for observations [N, ...].

    With an LSTM it also sees the previous action, one-hot, and the previous reward. They are part
    of its state [N, S], S = 2 H + 2: h and c of the core, the previous action + 1, the previous
    reward. So a state of zeros is the start of an episode, without an action before, and a state
    that is stored, reset or resumed has all that the network needs. An actor reports the rewards
    through `observe_rewards`.

    Args:
        observation: shape and kind of one observation.
        action: number of actions, discrete.
        lstm_size: H, units of an LSTM between torso and heads; default: none.
        head_units: units of the hidden layer of each head; default: 512 with pixels, else 64.
        support: atoms of a distribution over returns, whose mean is Q; default: Q alone.
        bfloat16: compute the torso in bfloat16. Parameters, core, heads and losses stay float32.
        torso: settings of the torso.

    Attributes:
        core: the LSTM; None in a network without memory.
        epsilons: [1] or [N] probability of a random action, per simulator; at first that of
            evaluation. It is no parameter: neither gossip nor checkpoints have it. From the second
            `explore` of as many on it is changed in place, since a CUDA graph has recorded it.
        atoms: [Z] of a categorical network; None without.
    """

    epsilons: Tensor
    atoms: Tensor | None
    _actions: Tensor

    def __init__(
        self,
        observation: ObservationSpec,
        action: ActionSpec,
        *,
        lstm_size: int | None = None,
        head_units: int | None = None,
        support: Support | None = None,
        bfloat16: bool = False,
        torso: TorsoSettings = _DEFAULT_TORSO,
    ) -> None:
        super().__init__()
        if not action.is_discrete or action.sizes:
            raise ValueError("a Q-network chooses one discrete action per step")
        self.has_action_values = True
        self.observation_moments = self.sum_moments = None
        self._bfloat16 = bfloat16
        self.torso = make_torso(observation, torso)
        features = self.torso.features
        self.core = None if lstm_size is None else LSTMCore(features + action.size + 1, lstm_size)
        if self.core is not None:
            features = self.core.features
            self.state_size = self.core.state_size + 2
        units = head_units or (PIXEL_UNITS if observation.has_pixels else VECTOR_UNITS)
        atoms = None if support is None else torch.linspace(*support[1:], support.atoms)
        self.heads = DuellingHeads(features, action.size, units, 1 if atoms is None else len(atoms))
        self.register_buffer("atoms", atoms, persistent=False)
        self.register_buffer("epsilons", torch.tensor([EVALUATION_EPSILON]), persistent=False)
        self.register_buffer("_actions", torch.arange(action.size), persistent=False)

    def forward(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        """Return Q(x, ·) [N, A]; leaves the state [N, S] as it is."""
        features, _ = self._features(observations, state)
        return self._q_values(features)

    def log_probs(self, observations: Tensor) -> Tensor:
        """Return a categorical network's log-probabilities [N, A, Z]; without memory alone."""
        features, _ = self._features(observations, None)
        return torch.log_softmax(self.heads(features), dim=-1)

    def q_values(self, batch: SequenceBatch, burn_in: int) -> Tensor:
        """Return Q(x, ·) of sequences, unrolled from their stored states with these parameters.

        Burn-in brings the state to the present parameters; gradients do not reach its rows.

        Args:
            batch: sequences of L rows.
            burn_in: l, rows before the learning part.

        Returns:
            [L - l, N, A] from the first row of the learning part on.
        """
        state = batch.state[:, :-2]
        if burn_in and self.core is not None:
            with torch.no_grad():
                _, state = self._unroll(batch, slice(0, burn_in), state)
        features, _ = self._unroll(batch, slice(burn_in, None), state)
        return self._q_values(features).view(-1, *batch.weights.shape, *self._actions.shape)

    def act(
        self,
        observations: Tensor,
        generator: torch.Generator,
        state: Tensor | None = None,
        record: Activations | None = None,
    ) -> Tensor:
        """See `Network.act`."""
        return self._act(observations, state, generator)[0]

    @torch.no_grad()
    def act_and_evaluate(
        self, observations: Tensor, generator: torch.Generator, state: Tensor | None = None
    ) -> PolicyOutput:
        """See `Network.act_and_evaluate`; V(x) is max_a Q(x, a)."""
        actions, q_values = self._act(observations, state, generator)
        log_probs = epsilon_greedy_log_probs(q_values, actions, self.epsilons)
        return PolicyOutput(actions, log_probs, q_values.amax(dim=-1), chosen(q_values, actions))

    def explore(self, epsilons: Tensor) -> None:
        """See `Network.explore`."""
        if self.epsilons.shape != epsilons.shape:
            self.epsilons = torch.empty_like(epsilons, device=self.epsilons.device)
        self.epsilons.copy_(epsilons)

    def observe_rewards(self, rewards: Tensor, state: Tensor) -> None:
        """See `Network.observe_rewards`."""
        if self.core is not None:
            state[:, -1].copy_(rewards, non_blocking=True)

    def decide(self, observations: Tensor, state: Tensor | None = None) -> Decision:
        """See `Network.decide`."""
        return Decision(*self._act(observations, state, None))

    def values(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        """Return max_a Q(x, a) [N]; leaves the state as it is."""
        return self(observations, state).amax(dim=-1)  # type: ignore[no-any-return]

    def _act(
        self, observations: Tensor, state: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return actions [N], greedy without a generator, and Q(x, ·) [N, A]."""
        features, after = self._features(observations, state)
        q_values = self._q_values(features)
        if generator is None:
            actions = q_values.argmax(dim=-1)
        else:
            actions = epsilon_greedy(q_values, self.epsilons, generator)
        if self.core is not None:
            state = required(state)
            state[:, :-2] = after
            state[:, -2] = actions + 1
        return actions, q_values

    def _features(self, observations: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return features [N, F] and the core's state after observations [N, ...]."""
        features = torso_features(self.torso, observations, bfloat16=self._bfloat16)
        if self.core is None:
            return features, features[:, :0]
        state = required(state)
        inputs = self._core_inputs(features, state[:, -2] - 1, state[:, -1])
        stepped: tuple[Tensor, Tensor] = self.core(inputs, state[:, :-2])
        return stepped

    def _unroll(self, batch: SequenceBatch, rows: slice, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [rows * N, F] and the core's state [N, 2 H] after the rows."""
        observations = batch.observations[rows].flatten(0, 1)
        features = torso_features(self.torso, observations, bfloat16=self._bfloat16)
        if self.core is None:
            return features, state
        previous = batch.previous_actions[rows], batch.previous_rewards[rows]
        inputs = self._core_inputs(features, *(x.flatten() for x in previous))
        unrolled: tuple[Tensor, Tensor] = self.core(inputs, state, batch.is_first[rows])
        return unrolled

    def _core_inputs(self, features: Tensor, actions: Tensor, rewards: Tensor) -> Tensor:
        """Append the previous actions [N], -1 for none, and rewards [N] to features [N, F]."""
        one_hot = actions.unsqueeze(-1) == self._actions
        return torch.cat([features, one_hot.to(features.dtype), rewards.unsqueeze(-1)], dim=-1)

    def _q_values(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.heads(features)
        if self.atoms is None:
            return outputs.squeeze(-1)
        return torch.softmax(outputs, dim=-1) @ self.atoms


def _head(features: int, units: int, outputs: int) -> nn.Sequential:
    # First outputs near 0: errors as large as they would be otherwise hide small rewards for long.
    return nn.Sequential(
        orthogonal(nn.Linear(features, units), math.sqrt(2)),
        nn.ReLU(),
        orthogonal(nn.Linear(units, outputs), 0.01),
    )
