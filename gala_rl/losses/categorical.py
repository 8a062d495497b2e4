"""Categorical Q-learning (C51): a network predicts how returns are distributed over atoms."""

from typing import NamedTuple

import torch
from torch import Tensor

from gala_rl.losses.shapes import check_equal_shapes


class CategoricalLoss(NamedTuple):
    """The loss, and the error of each item.

    Attributes:
        total: scalar to minimise.
        errors: [N] KL divergence of the prediction from its target, without gradient: the
            priorities.
    """

    total: Tensor
    errors: Tensor


def chosen_distributions(distributions: Tensor, actions: Tensor) -> Tensor:
    """Return the distributions of the chosen actions: [N, A, Z] and [N] → [N, Z]."""
    rows = torch.arange(len(actions), device=actions.device)
    return distributions[rows, actions]


@torch.no_grad()
def projected(probabilities: Tensor, returns: Tensor, discounts: Tensor, atoms: Tensor) -> Tensor:
    """Return the distribution of R + γ^j X over the atoms, where X is distributed over them too.

    Each moved atom R + γ^j z is clipped to the range of the atoms, and shares its probability
    between its two neighbours in proportion to its distance from the other. So the sum is
    conserved, and the mean too unless atoms were clipped.

    "A Distributional Perspective on Reinforcement Learning", Bellemare, Dabney and Munos 2017,
    equation 7.

    Args:
        probabilities: [N, Z] of X.
        returns: [N] R.
        discounts: [N] γ^j; 0 where the episode terminated.
        atoms: [Z] ascending, at equal distances.

    Returns:
        [N, Z].
    """
    moved = returns.unsqueeze(-1) + discounts.unsqueeze(-1) * atoms
    moved = moved.clamp(min=atoms[0], max=atoms[-1])
    distances = (moved.unsqueeze(-2) - atoms.unsqueeze(-1)).abs() / (atoms[1] - atoms[0])
    shares = (1.0 - distances).clamp(min=0.0)
    return (shares @ probabilities.unsqueeze(-1)).squeeze(-1)


def categorical_loss(
    *, log_probs: Tensor, actions: Tensor, targets: Tensor, weights: Tensor
) -> CategoricalLoss:
    """Return the weighted mean of the cross entropies between targets and predictions.

    The error of an item is its KL divergence, as in "Rainbow: Combining Improvements in Deep
    Reinforcement Learning", Hessel et al. 2018: cross entropy minus the entropy of the target,
    which no prediction could reduce.

    Args:
        log_probs: [N, A, Z] logarithms of the predicted probabilities.
        actions: [N].
        targets: [N, Z] of `projected`; constant.
        weights: [N] importance weights.
    """
    predicted = chosen_distributions(log_probs, actions)
    check_equal_shapes(predicted=predicted, targets=targets)
    targets = targets.detach()
    cross_entropies = -(targets * predicted).sum(dim=-1)
    check_equal_shapes(cross_entropies=cross_entropies, weights=weights)
    with torch.no_grad():
        # Negative by rounding where the prediction is right.
        errors = (cross_entropies + torch.xlogy(targets, targets).sum(dim=-1)).clamp(min=0.0)
    return CategoricalLoss((weights * cross_entropies).mean(), errors)
