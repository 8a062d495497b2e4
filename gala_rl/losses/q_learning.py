"""Double Q-learning on n-step transitions."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gala_rl.losses.shapes import check_equal_shapes


class QLearningLoss(NamedTuple):
    """The loss, and the error of each item.

    Attributes:
        total: scalar to minimise.
        td_errors: [N] target minus Q(x, a), without gradient; their sizes are the priorities.
    """

    total: Tensor
    td_errors: Tensor


def chosen(values: Tensor, actions: Tensor) -> Tensor:
    """Return what belongs to the chosen actions: [..., A] and [...] → [...].

    Args:
        values: [..., A] one number per action.
        actions: [...] integers.
    """
    return values.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def double_q_values(q_values: Tensor, target_q_values: Tensor) -> Tensor:
    """Return the target network's value of the action that the online network prefers.

    "Deep Reinforcement Learning with Double Q-learning", van Hasselt, Guez and Silver 2016,
    equation 4: the maximum of noisy values is too large, but not if the noise of the choice is
    independent of the noise of the value.

    Args:
        q_values: [..., A] of the online network.
        target_q_values: [..., A] of the target network on the same observations.

    Returns:
        [...], without gradient.
    """
    check_equal_shapes(q_values=q_values, target_q_values=target_q_values)
    return chosen(target_q_values, q_values.argmax(dim=-1)).detach()


def q_learning_loss(
    *,
    q_values: Tensor,
    actions: Tensor,
    returns: Tensor,
    discounts: Tensor,
    next_values: Tensor,
    weights: Tensor,
    huber: float | None,
) -> QLearningLoss:
    """Return the weighted mean of half the squared errors, or of Huber's loss of them.

    δ = R + γ^j V(x_{t+j}) - Q(x_t, a_t); L = mean(w · ½ δ²), or w · κ (|δ| - ½ κ) where |δ| > κ.

    "Human-level control through deep reinforcement learning", Mnih et al. 2015, whose clipped
    errors are the gradient of Huber's loss with κ = 1; "Prioritized Experience Replay", Schaul et
    al. 2016, section 3.4, for the weights.

    Args:
        q_values: [N, A] Q(x_t, ·).
        actions: [N] a_t.
        returns: [N] R, sum of the rewards of j steps.
        discounts: [N] γ^j, or 0 where the episode terminated within the j steps.
        next_values: [N] of `double_q_values` at x_{t+j}; constant.
        weights: [N] importance weights.
        huber: κ; None: squared errors.
    """
    values = chosen(q_values, actions)
    check_equal_shapes(
        values=values,
        returns=returns,
        discounts=discounts,
        next_values=next_values,
        weights=weights,
    )
    targets = returns + discounts * next_values.detach()
    if huber is None:
        losses = 0.5 * (targets - values).square()
    else:
        losses = functional.huber_loss(values, targets, reduction="none", delta=huber)
    with torch.no_grad():
        td_errors = targets - values
    return QLearningLoss((weights * losses).mean(), td_errors)
