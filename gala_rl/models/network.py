"""The interface of a network that actors, evaluation and normalisation rely on."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gala_rl.models.normalization import RunningMoments
from gala_rl.trajectory import Activations


class PolicyOutput(NamedTuple):
    """What one forward pass gives.

    Attributes:
        actions: [N] or [N, A], random.
        log_probs: [N] log π(a|x).
        values: [N] V(x).
        action_values: [N] Q(x, a); None unless the network `has_action_values`.
    """

    actions: Tensor
    log_probs: Tensor
    values: Tensor
    action_values: Tensor | None = None


class Decision(NamedTuple):
    """Best actions, and what they are chosen by.

    Attributes:
        actions: [N] or [N, A].
        outputs: logits [N, K] or [N, A, K], means [N, A], or Q(x, ·) [N, K].
    """

    actions: Tensor
    outputs: Tensor


class Network(nn.Module, ABC):
    """A module that returns actions and values for observations [N, ...].

    A recurrent network has a state [N, S] before each observation. All methods that act update
    it in place to the state after the observation; `values` leaves it unchanged. A network
    without memory has S = 0, and ignores the state that it is given.

    Attributes:
        state_size: S.
        has_action_values: whether it predicts Q(x, a).
        observation_moments: moments that normalise observations; None if they are not normalised.
        sum_moments: moments of discounted sums of rewards; None if rewards are not scaled.
    """

    state_size: int = 0
    has_action_values: bool = False
    observation_moments: RunningMoments | None
    sum_moments: RunningMoments | None

    def initial_state(self, count: int) -> Tensor:
        """Return the state [N, S] at the start of `count` episodes: zeros."""
        device = next(self.parameters()).device
        return torch.zeros(count, self.state_size, dtype=torch.float32, device=device)

    def allocate_activations(self, steps: int, observations: Tensor) -> Activations | None:
        """Return memory for activations that `act` records over T steps on observations [B, ...].

        None where a second forward pass costs less than recording the first: by default.
        """
        return None

    @abstractmethod
    def act(
        self,
        observations: Tensor,
        generator: torch.Generator,
        state: Tensor | None = None,
        record: Activations | None = None,
    ) -> Tensor:
        """Return random actions [N] or [N, A].

        Args:
            observations: [N, ...].
            generator: source of randomness.
            state: [N, S] before them, updated in place; not needed without memory.
            record: [N, ...] receives the activations for the update; without gradient then.
        """

    @abstractmethod
    def act_and_evaluate(
        self, observations: Tensor, generator: torch.Generator, state: Tensor | None = None
    ) -> PolicyOutput:
        """Act as `act` does, and return log π and V too: the behaviour policy of the update."""

    def explore(self, epsilons: Tensor) -> None:
        """Set the probabilities [N] of random actions, for a network whose policy is not random.

        Args:
            epsilons: of the simulators of an actor.
        """

    def observe_rewards(self, rewards: Tensor, state: Tensor) -> None:
        """Write what is needed of the rewards of the last actions to the state: by default nothing.

        Called between the actions' answer and the reset of the states of episodes that ended.

        Args:
            rewards: [N] as the trajectory has them, on any device.
            state: [N, S] after the observations on which the network acted, updated in place.
        """

    @abstractmethod
    def decide(self, observations: Tensor, state: Tensor | None = None) -> Decision:
        """Return the best actions with what they are chosen by; updates the state in place."""

    def greedy(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        """Return the best actions [N] or [N, A]; updates the state in place."""
        return self.decide(observations, state).actions

    @abstractmethod
    def values(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        """Return V(x) [N], by which returns are bootstrapped; leaves the state as it is."""


def required(state: Tensor | None) -> Tensor:
    """Return the state that a recurrent network was given.

    Raises:
        ValueError: when there is none.
    """
    if state is None:
        raise ValueError("a recurrent network acts from a state: give it the one before")
    return state
