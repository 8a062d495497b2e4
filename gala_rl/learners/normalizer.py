"""Updates a network's running moments of observations and rewards with each rollout."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from gala_rl.models.network import Network
from gala_rl.trajectory import Trajectory


class Normalizer:
    """Scales rewards for the loss, and counts rollouts into the network's running moments.

    Rewards are divided by the running standard deviation of the discounted sum of rewards since
    an episode began: "Implementation Matters in Deep Policy Gradients", Engstrom et al. 2020,
    Algorithm 1; OpenAI Baselines, 2017. Without moments in the network, both methods do nothing.

    Args:
        network: network with the moments; it normalises observations itself.
        discount: γ.
        trajectory: an example; only its shape and device are used.
        counting: see `Coupling.counting`, for learners that share their moments.

    Attributes:
        discounted_sums: [B] γ-discounted sum of the rewards of each simulator's episode so far.
    """

    def __init__(
        self,
        network: Network,
        discount: float,
        trajectory: Trajectory,
        counting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._of_observations = network.observation_moments
        self._of_sums = network.sum_moments
        self._discount = discount
        self._counting = counting
        self._sums = torch.zeros_like(trajectory.rewards)
        self.discounted_sums: Tensor = torch.zeros_like(trajectory.rewards[0])

    @torch.no_grad()
    def scale_rewards(self, trajectory: Trajectory) -> None:
        """Scale the raw rewards [T, B] of a new rollout for the loss, in place."""
        if self._of_sums is None:
            return
        ends = trajectory.terminated | trajectory.truncated
        for t, rewards in enumerate(trajectory.rewards):
            torch.add(rewards, self.discounted_sums, alpha=self._discount, out=self._sums[t])
            torch.mul(self._sums[t], ~ends[t], out=self.discounted_sums)
        scaled = self._of_sums.scale(trajectory.rewards.unsqueeze(-1))
        trajectory.rewards.copy_(scaled.squeeze(-1))

    def absorb(self, trajectory: Trajectory) -> None:
        """Count a rollout into the moments, after its update.

        Acting and all epochs of an update then use the same moments, so that their probabilities
        and values can be compared.
        """
        if self._of_observations is None and self._of_sums is None:
            return
        with self._counting():
            if self._of_observations is not None:
                # The last observations are the first of the next rollout.
                self._of_observations.absorb(trajectory.observations[:-1].flatten(0, 1))
            if self._of_sums is not None:
                weights = trajectory.weights()
                self._of_sums.absorb(self._sums if weights is None else self._sums[weights > 0])
