"""Ends of episodes within a rollout, and the values that returns bootstrap from."""

from typing import NamedTuple

from torch import Tensor


class EpisodeBoundaries(NamedTuple):
    """Ends of episodes and of the rollout.

    Attributes:
        terminated: [T, B] bool; the return ends, even if `truncated` is set.
        truncated: [T, B] bool; the return bootstraps from the truncation value.
        truncation_values: [T, B] V(final observation) where truncated; else ignored.
        bootstrap_values: [B] V(x_T), from which the last step bootstraps.
    """

    terminated: Tensor
    truncated: Tensor
    truncation_values: Tensor
    bootstrap_values: Tensor
