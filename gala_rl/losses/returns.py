"""Returns: discounted sums of future rewards, computed backwards along a rollout."""

import torch
from torch import Tensor

from gala_rl.losses.boundaries import EpisodeBoundaries
from gala_rl.losses.shapes import check_rollout_shapes


def n_step_returns(rewards: Tensor, boundaries: EpisodeBoundaries, discount: float) -> Tensor:
    """Return forward-view n-step returns, each bootstrapped at the end of the rollout.

    G_t = r_t + γ (1 - terminated_t) · (V(final observation) if truncated_t else G_{t+1}),
    with G_T = V(x_T). A terminated step ends the return, a truncated one does not: the value of
    the episode's own final observation stands in for the rewards that were cut off, and nothing
    of the next episode leaks in. Where both flags are set, terminated wins.

    "Asynchronous Methods for Deep Reinforcement Learning", Mnih et al. 2016, Algorithm S3.

    Args:
        rewards: [T, B] r_t.
        boundaries: ends of episodes and of the rollout.
        discount: γ.

    Returns:
        [T, B] G_t, without gradient.
    """
    check_rollout_shapes(rewards, boundaries)
    terminated, truncated, truncation_values, bootstrap_values = boundaries
    with torch.no_grad():
        returns = torch.empty_like(rewards)
        ends = terminated | truncated
        finals = torch.where(truncated, truncation_values, 0.0).masked_fill(terminated, 0.0)
        at_ends = rewards + discount * finals
        following = bootstrap_values
        steps = zip(rewards, ends, at_ends, returns, strict=True)
        for reward, ended, at_end, target in reversed(tuple(steps)):
            following = torch.where(ended, at_end, reward + discount * following, out=target)
    return returns


def following_values(values: Tensor, boundaries: EpisodeBoundaries) -> Tensor:
    """Return the value that follows each step: the next of the same episode, or the truncation's.

    0 follows a terminated step, even if `truncated`; no value of the next episode leaks in.

    Args:
        values: [T, B] of x_0 … x_{T-1}: V(x_t), or another estimate of the return from there.
        boundaries: ends of episodes and of the rollout; its `bootstrap_values` [B] are those of
            x_T.

    Returns:
        [T, B].
    """
    terminated, truncated, truncation_values, bootstrap_values = boundaries
    following = torch.cat([values[1:], bootstrap_values[None]])
    return torch.where(truncated, truncation_values, following).masked_fill(terminated, 0.0)


def sums_within_episodes(terms: Tensor, factors: Tensor, ends: Tensor) -> Tensor:
    """Return x_t + f_t x_{t+1} + f_t f_{t+1} x_{t+2} + …, up to the last step of t's episode.

    Args:
        terms: [T, B] x_t.
        factors: [T, B] f_t.
        ends: [T, B] bool, last step of an episode, terminated or truncated.

    Returns:
        [T, B].
    """
    sums = terms.clone()
    for t in reversed(range(terms.shape[0] - 1)):
        sums[t] += factors[t] * sums[t + 1].masked_fill(ends[t], 0.0)
    return sums
