"""The loss of R2D2: double Q-learning on sequences, with n-step targets and rescaled values.

Axes: k = steps of the learning part, n = steps of a return, N = sequences. All inputs begin at
the first row of the learning part, so they have k + n rows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gala_rl.losses.q_learning import chosen, double_q_values
from gala_rl.losses.shapes import check_equal_shapes
from gala_rl.losses.value_rescaling import rescaled, unscaled

ETA = 0.9
"""η: weight of the largest error of a sequence in its priority; 1 - η is that of the mean."""


class R2D2Loss(NamedTuple):
    """The loss, and the errors that decide how often sequences are replayed.

    Attributes:
        total: scalar to minimise.
        td_errors: [k, N] target minus Q(x_t, a_t), without gradient; 0 where not learned from.
        priorities: [N] of `sequence_priorities`.
    """

    total: Tensor
    td_errors: Tensor
    priorities: Tensor


class _NStep(NamedTuple):
    """Returns of j <= n steps, each [k, N]; j is below n only where the episode ends.

    Attributes:
        returns: sum over i < j of γ^i r_{t+i}.
        discounts: γ^j, or 0 where the episode terminated within the j steps.
        rows: t + j, the row of the observation after them.
    """

    returns: Tensor
    discounts: Tensor
    rows: Tensor


@torch.no_grad()
def r2d2_targets(
    values: Tensor,
    rewards: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    n_step: int,
    discount: float,
) -> Tensor:
    """Return the rescaled n-step targets of the learning part.

    y_t = h(Σ_{i<j} γ^i r_{t+i} + γ^j h⁻¹(V(x_{t+j}))), where j is n, or the steps up to the end of
    the episode if it ends before. A terminated episode has no second term; for one that was
    truncated, row t + j holds its final observation.

    "Recurrent Experience Replay in Distributed Reinforcement Learning", Kapturowski et al. 2019,
    section 2.3. With the values of the actor's own network, V(x) = max_a Q(x, a), these are also
    the targets of the priorities with which sequences are stored.

    Args:
        values: [k + n, N] rescaled value from which a return that ends at that row bootstraps.
        rewards: [k + n, N]
        terminated: [k + n, N]
        truncated: [k + n, N]
        n_step: n.
        discount: γ.

    Returns:
        [k, N].
    """
    check_equal_shapes(values=values, rewards=rewards, terminated=terminated, truncated=truncated)
    returns, discounts, rows = _n_step(rewards, terminated, truncated, n_step, discount)
    return rescaled(returns + discounts * unscaled(values.gather(0, rows)))


def r2d2_loss(
    *,
    q_values: Tensor,
    target_q_values: Tensor,
    actions: Tensor,
    rewards: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    is_learned: Tensor,
    weights: Tensor,
    n_step: int,
    discount: float,
) -> R2D2Loss:
    """Return half the squared errors: the sum over each sequence, the weighted mean over N.

    L = mean_b(w_b · Σ_t ½ δ_{t,b}²) over the steps that are learned from. Every step has the same
    weight, also those of a sequence that the end of its episode made short, and the published
    gradient clip and Adam's ε fit a sum over the sequence, as in SEED RL and DQN Zoo.

    Args:
        q_values: [k + n, N, A] of the online network; the gradient flows through the first k rows.
        target_q_values: [k + n, N, A] of the target network, after a burn-in of its own.
        actions: [k + n, N]
        rewards: [k + n, N]
        terminated: [k + n, N]
        truncated: [k + n, N]
        is_learned: [k, N] which steps of the learning part count.
        weights: [N] importance weights.
        n_step: n.
        discount: γ.
    """
    learned = len(is_learned)
    targets = r2d2_targets(
        double_q_values(q_values, target_q_values),
        rewards,
        terminated,
        truncated,
        n_step=n_step,
        discount=discount,
    )
    check_equal_shapes(targets=targets, is_learned=is_learned)
    errors = (targets - chosen(q_values[:learned], actions[:learned])) * is_learned
    sums = 0.5 * errors.square().sum(dim=0)
    check_equal_shapes(sums=sums, weights=weights)
    td_errors = errors.detach()
    priorities = sequence_priorities(td_errors, is_learned)
    return R2D2Loss((weights * sums).mean(), td_errors, priorities)


@torch.no_grad()
def sequence_priorities(td_errors: Tensor, is_learned: Tensor) -> Tensor:
    """Return η max|δ| + (1 - η) mean|δ| over the steps that are learned from; 0 if none is.

    Kapturowski et al. 2019, section 2.3: a mean over long sequences has little spread.

    Args:
        td_errors: [k, N].
        is_learned: [k, N].

    Returns:
        [N].
    """
    sizes = td_errors.abs() * is_learned
    means = sizes.sum(dim=0) / is_learned.sum(dim=0).clamp(min=1)
    return ETA * sizes.amax(dim=0) + (1.0 - ETA) * means


def _n_step(
    rewards: Tensor, terminated: Tensor, truncated: Tensor, n_step: int, discount: float
) -> _NStep:
    learned = len(rewards) - n_step
    returns = torch.zeros_like(rewards[:learned])
    lengths = torch.zeros_like(returns, dtype=torch.int64)
    continues = torch.ones_like(lengths, dtype=torch.bool)
    terminates = torch.zeros_like(continues)
    for i in range(n_step):
        rows = slice(i, i + learned)
        returns += (discount**i * rewards[rows]).masked_fill(~continues, 0.0)
        lengths += continues
        terminates |= continues & terminated[rows]
        continues = continues & ~(terminated[rows] | truncated[rows])
    discounts = torch.pow(discount, lengths.to(returns.dtype)).masked_fill(terminates, 0.0)
    first = torch.arange(learned, device=lengths.device).unsqueeze(-1)
    return _NStep(returns, discounts, first + lengths)
