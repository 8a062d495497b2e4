"""Returns: what a state turned out to be worth, computed backwards along a rollout."""

import torch
from torch import Tensor


def n_step_returns(
    rewards: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    truncation_values: Tensor,
    bootstrap_values: Tensor,
    discount: float,
) -> Tensor:
    """Forward-view n-step returns, each bootstrapped at the end of the rollout.

    G_t = r_t + γ (1 - terminated_t) · (V(final observation) if truncated_t else G_{t+1}),
    with G_T = V(x_T). A terminated step ends the return, a truncated one does not: the value of
    the episode's own final observation stands in for the rewards that were cut off, and nothing
    of the next episode leaks in. Where both flags are set, terminated wins.

    "Asynchronous Methods for Deep Reinforcement Learning", Mnih et al. 2016, Algorithm S3.

    Args:
        rewards: [T, B] r_t.
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        truncation_values: [T, B] V(final observation) where truncated; else ignored.
        bootstrap_values: [B] V(x_T).
        discount: γ.

    Returns:
        [T, B] G_t, without gradient.
    """
    if rewards.ndim != 2 or bootstrap_values.shape != rewards.shape[1:]:
        raise ValueError(
            f"rewards must be [T, B] and bootstrap_values [B], "
            f"got {tuple(rewards.shape)} and {tuple(bootstrap_values.shape)}"
        )
    for name, x in (
        ("terminated", terminated),
        ("truncated", truncated),
        ("truncation_values", truncation_values),
    ):
        if x.shape != rewards.shape:
            raise ValueError(f"{name} must be [T, B] like rewards, got {tuple(x.shape)}")
    with torch.no_grad():
        returns = torch.empty_like(rewards)
        following = bootstrap_values
        for t in reversed(range(rewards.shape[0])):
            following = torch.where(truncated[t], truncation_values[t], following)
            following = rewards[t] + discount * following.masked_fill(terminated[t], 0.0)
            returns[t] = following
    return returns
