"""What an actor hands to a learner, and the legend of every axis in the package.

Axes: T = agent steps of a rollout, B = simulators, P = parameters, S = state of a recurrent
network. Storage is time-major.

Time index t is the moment at which the agent sees `observations[t]` and chooses `actions[t]`;
`rewards[t]`, `terminated[t]` and `truncated[t]` are the environment's answer to that action, and
`observations[t + 1]` is what is seen next (the first observation of a new episode, where one
ended). `begins[t]` tells that `observations[t]` is the first after the end of a return, or of all.
A recurrent network's state *before* `observations[t]` is what it remembers of the observations up
to t - 1: zero where `begins[t]`. This file is the only place that fixes that shift.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Activations(NamedTuple):
    """What a convolutional network was given and what its layers made of it, for its backward pass.

    Attributes:
        pixels: [T, B, C, H, W] images in 0 … 1, channels-last in memory.
        convolutions: [T, B, K, H', W'] of each convolution, after the ReLU, channels-last.
        features: [T, B, F].
    """

    pixels: Tensor
    convolutions: tuple[Tensor, ...]
    features: Tensor

    def at(self, t: int, rows: slice = slice(None)) -> "Activations":
        """Those of step t: [B, ...], or of some of its rows."""
        return Activations(
            self.pixels[t, rows],
            tuple(x[t, rows] for x in self.convolutions),
            self.features[t, rows],
        )

    def flatten(self) -> "Activations":
        """Those of all steps as one batch: [T * B, ...]."""
        return Activations(
            self.pixels.flatten(0, 1),
            tuple(x.flatten(0, 1) for x in self.convolutions),
            self.features.flatten(0, 1),
        )


class Past(NamedTuple):
    """What a recurrent network must know to unroll sequences of T observations.

    Attributes:
        state: [B, S] before the first observations.
        begins: [T, B] observations before which the state is zero.
    """

    state: Tensor
    begins: Tensor


@dataclass(frozen=True)
class Trajectory:
    """One rollout of all simulators of a learner, in storage that is allocated once and reused.

    Attributes:
        observations: [T + 1, B, ...] the last one is where the rollout stopped.
        actions: [T, B] integers, or [T, B, A]: floats for continuous actions, integers for several
            discrete ones.
        rewards: [T, B] as the loss sees them (clipped or scaled where that is set).
        terminated: [T, B] the return ends here, nothing follows.
        truncated: [T, B] the episode was cut here; its return goes on in `truncation_values`.
        truncation_values: [T, B] value of the final observation where truncated, else 0.
        log_probs: [T, B] log π(actions) under the policy that acted; None where no loss asks.
        values: [T, B] V(observations) at the time; None where no loss asks.
        activations: [T, B, ...] of the network on `observations[:T]`, with the parameters that
            the learner finds; None where the network keeps none.
        initial_state: [B, S] before `observations[0]`; None where the network has no state, as
            are the next two.
        final_state: [B, S] before `observations[T]`, zero where `begins[T]`.
        begins: [T + 1, B] observations with which a return begins.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    truncation_values: Tensor
    log_probs: Tensor | None = None
    values: Tensor | None = None
    activations: Activations | None = None
    initial_state: Tensor | None = None
    final_state: Tensor | None = None
    begins: Tensor | None = None

    @staticmethod
    def allocate(
        rollout_steps: int,
        observation: Tensor,
        action: Tensor,
        device: torch.device,
        activations: Activations | None = None,
        state: Tensor | None = None,
        *,
        keep_choices: bool = False,
    ) -> "Trajectory":
        """Empty storage for rollouts of observations and actions like the given ones.

        Args:
            rollout_steps: T.
            observation: [B, ...] an example; only its shape and type are used.
            action: [B] or [B, A] an example.
            device: where the storage lives.
            activations: [T, B, ...] memory that the network has allocated for its own.
            state: [B, S] an example of a recurrent network's state; None if it has none.
            keep_choices: have room for `log_probs` and `values`.
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
            log_probs=floats.clone() if keep_choices else None,
            values=floats.clone() if keep_choices else None,
            activations=activations,
            initial_state=None if state is None else torch.zeros_like(state),
            final_state=None if state is None else torch.zeros_like(state),
            begins=None if state is None else empty(steps + 1, flags[0]),
        )

    def past(self, columns: slice | Tensor = slice(None)) -> Past | None:
        """What a recurrent network needs to unroll `observations[:T]`; None for any other.

        Args:
            columns: simulators; default: all.
        """
        if self.initial_state is None or self.begins is None:
            return None
        return Past(self.initial_state[columns], self.begins[:-1, columns])

    @property
    def agent_steps(self) -> int:
        """T x B."""
        return self.rewards.numel()
