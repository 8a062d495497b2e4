"""A trajectory: the rollout that an actor passes to a learner, with the meaning of each axis.

Axes: T = agent steps of a rollout, B = simulators, P = parameters, S = state of a recurrent
network (0 without memory). Storage is time-major.

At time t the agent sees `observations[t]` and chooses `actions[t]`; `rewards[t]`,
`terminated[t]` and `truncated[t]` are the environment's answer to that action, and
`observations[t + 1]` is what the agent sees next: the first observation of a new episode, where
one ended. `is_first[t]` marks such an observation, and the very first one. A recurrent network's
state *before* `observations[t]` remembers the observations up to t - 1: zero where `is_first[t]`.
This file is the only place that fixes that shift.

Simulators that reset in the step after an end ignore that step's action. Such a step has both
`terminated[t]` and `truncated[t]`, reward 0, and weight 0 in every loss.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gala_rl.losses.boundaries import EpisodeBoundaries


class Activations(NamedTuple):
    """Input and outputs of a convolutional network's layers, recorded for its backward pass.

    Attributes:
        pixels: [T, B, C, H, W] images in 0 … 1, channels-last in memory.
        convolutions: [T, B, K, H', W'] per convolution, after the ReLU, channels-last.
        features: [T, B, F].
    """

    pixels: Tensor
    convolutions: tuple[Tensor, ...]
    features: Tensor

    def at(self, t: int, rows: slice = slice(None)) -> "Activations":
        """Return those of step t: [B, ...], or of some of its rows."""
        return Activations(
            self.pixels[t, rows],
            tuple(x[t, rows] for x in self.convolutions),
            self.features[t, rows],
        )

    def flatten(self) -> "Activations":
        """Return those of all steps as one batch: [T * B, ...]."""
        return Activations(
            self.pixels.flatten(0, 1),
            tuple(x.flatten(0, 1) for x in self.convolutions),
            self.features.flatten(0, 1),
        )


@dataclass(frozen=True)
class Trajectory:
    """One rollout of all simulators of a learner, in storage that is allocated once and reused.

    Attributes:
        observations: [T + 1, B, ...] the last one is where the rollout stopped.
        actions: [T, B] integers, or [T, B, A]: floats for continuous actions, integers for several
            discrete ones.
        rewards: [T, B] as the loss sees them (clipped or scaled where that is set).
        terminated: [T, B] the return ends here, nothing follows.
        truncated: [T, B] the episode was cut here; its return bootstraps from `truncation_values`.
        truncation_values: [T, B] value of the final observation where truncated, else 0.
        is_first: [T + 1, B] observations with which a return begins.
        initial_state: [B, S] before `observations[0]`.
        final_state: [B, S] before `observations[T]`, zero where `is_first[T]`.
        log_probs: [T, B] log π(actions) under the behaviour policy; None if no loss needs it.
        values: [T, B] V(observations) when they were seen; None if no loss needs it.
        action_values: [T, B] Q(observations, actions) when they were chosen, where V is
            max Q(observations, ·); None if no loss needs it.
        activations: [T, B, ...] of the network on `observations[:T]`, with the parameters that
            the learner has; None if the network records none.
        has_resets: whether steps may be resets, whose action was ignored.
        final_observations: [T, B, ...] last observation of the episode where truncated, else
            anything; None if no replay needs it.
        states: [T, B, S] before `observations[:T]`; None if no replay needs it.
        simulators: [B] number of each column's simulator among those of the learner, on the CPU;
            None: 0 … B - 1.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    truncation_values: Tensor
    is_first: Tensor
    initial_state: Tensor
    final_state: Tensor
    log_probs: Tensor | None = None
    values: Tensor | None = None
    action_values: Tensor | None = None
    activations: Activations | None = None
    has_resets: bool = False
    final_observations: Tensor | None = None
    states: Tensor | None = None
    simulators: Tensor | None = None

    @staticmethod
    def allocate(
        rollout_steps: int,
        observation: Tensor,
        action: Tensor,
        state: Tensor,
        device: torch.device,
        *,
        activations: Activations | None = None,
        with_behaviour: bool = False,
        has_resets: bool = False,
    ) -> "Trajectory":
        """Return empty storage for rollouts of observations and actions like the given ones.

        Args:
            rollout_steps: T.
            observation: [B, ...] an example; only its shape and type are used.
            action: [B] or [B, A] an example.
            state: [B, S] an example of the network's state.
            device: device of the storage.
            activations: [T, B, ...] memory that the network has allocated for its own.
            with_behaviour: allocate `log_probs` and `values` too.
            has_resets: whether simulators reset in the step after an end.
        """
        steps, simulators = rollout_steps, observation.shape[0]

        def empty(length: int, like: Tensor) -> Tensor:
            return torch.zeros((length, *like.shape), dtype=like.dtype, device=device)

        flags = torch.zeros(steps, simulators, dtype=torch.bool, device=device)
        floats = torch.zeros(steps, simulators, device=device)
        return Trajectory(
            observations=empty(steps + 1, observation),
            actions=empty(steps, action),
            rewards=floats,
            terminated=flags,
            truncated=flags.clone(),
            truncation_values=floats.clone(),
            is_first=empty(steps + 1, flags[0]),
            initial_state=torch.zeros_like(state, device=device),
            final_state=torch.zeros_like(state, device=device),
            log_probs=floats.clone() if with_behaviour else None,
            values=floats.clone() if with_behaviour else None,
            activations=activations,
            has_resets=has_resets,
        )

    def with_action_values(self) -> "Trajectory":
        """Return the same storage with memory for `action_values` too."""
        return replace(self, action_values=torch.zeros_like(self.rewards))

    def with_replay_fields(self) -> "Trajectory":
        """Return the same storage with `final_observations`, and `states` if there is memory."""
        state, steps = self.initial_state, len(self.rewards)
        states = state.new_zeros(steps, *state.shape) if state.shape[1] > 0 else None
        finals = torch.zeros_like(self.observations[:-1])
        return replace(self, final_observations=finals, states=states)

    def boundaries(self, bootstrap_values: Tensor) -> EpisodeBoundaries:
        """Return where episodes end in this rollout, and the values that returns bootstrap from.

        Args:
            bootstrap_values: [B] V(observations[T]).
        """
        return EpisodeBoundaries(
            self.terminated, self.truncated, self.truncation_values, bootstrap_values
        )

    def weights(self) -> Tensor | None:
        """Return [T, B]: 0 for a step that only reset its simulator, else 1; None: all are 1."""
        if not self.has_resets:
            return None
        return (~(self.terminated & self.truncated)).to(self.rewards.dtype)

    @property
    def agent_steps(self) -> int:
        """T x B."""
        return self.rewards.numel()
