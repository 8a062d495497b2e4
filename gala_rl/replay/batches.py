"""Batches that a replay samples: n-step transitions and sequences for recurrent networks.

Axes: N = sampled items, n = steps of an n-step return, l = steps of burn-in, k = steps of the
learning part, L = l + k + n rows of a sequence, S = state of a recurrent network.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class SampleKeys(NamedTuple):
    """Where sampled items are stored, to write their new priorities back.

    Attributes:
        simulator: [N] index of the simulator.
        position: [N] first learned step, counted per simulator from its very first step. It is
            never reused, so that an item that was overwritten meanwhile is recognised.
        leaf: [N] leaf of the priority tree.
    """

    simulator: NDArray[np.int64]
    position: NDArray[np.int64]
    leaf: NDArray[np.int64]


class TransitionBatch(NamedTuple):
    """N transitions of up to n steps; t is the first step and j <= n the number of steps.

    Attributes:
        observations: [N, ...] observation t.
        actions: [N] action t.
        returns: [N] sum over i < j of γ^i r_{t+i}; j is below n only where the episode ends.
        discounts: [N] γ^j, or 0 where the episode terminated within the j steps.
        next_observations: [N, ...] observation t + j: the final one where the episode was
            truncated; anything where `discounts` is 0.
        weights: [N] importance weights, divided by their maximum.
        keys: whose priorities to write back.
    """

    observations: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    next_observations: Tensor
    weights: Tensor
    keys: SampleKeys


class SequenceBatch(NamedTuple):
    """N sequences of L rows: burn-in, learning part, and the n steps that its returns need.

    The learning part begins at row l in every sequence. Rows outside of the episode are zeros.
    After a truncated step follows a row with the final observation, which has no action.

    Attributes:
        observations: [L, N, ...]
        actions: [L, N]
        rewards: [L, N]
        previous_actions: [L, N] -1 at the start of an episode.
        previous_rewards: [L, N] 0 at the start of an episode.
        terminated: [L, N]
        truncated: [L, N]
        is_first: [L, N] rows where the state is reset to zero: an episode's first.
        is_learned: [k, N] which of the rows l … l + k - 1 count in the loss.
        state: [N, S] before row 0, as the actor had it.
        weights: [N] importance weights, divided by their maximum.
        keys: whose priorities to write back.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    previous_actions: Tensor
    previous_rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    is_first: Tensor
    is_learned: Tensor
    state: Tensor
    weights: Tensor
    keys: SampleKeys
