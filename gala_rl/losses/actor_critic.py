"""The advantage actor-critic loss."""

from typing import NamedTuple

from torch import Tensor

from gala_rl.losses.means import mean
from gala_rl.losses.shapes import check_equal_shapes


class ActorCriticLoss(NamedTuple):
    """A loss and its three terms, each a scalar mean over steps and simulators."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor

    def terms(self) -> dict[str, Tensor]:
        """Return the terms by their metrics columns."""
        return {"policy_loss": self.policy, "value_loss": self.value, "entropy": self.entropy}


def actor_critic_loss(
    *,
    log_probs: Tensor,
    entropies: Tensor,
    values: Tensor,
    returns: Tensor,
    value_cost: float,
    entropy_cost: float,
    weights: Tensor | None = None,
) -> ActorCriticLoss:
    """Return policy gradient loss, squared value error and entropy bonus; all means.

    A_t = G_t - V(x_t);
    L = mean(-log π(a_t|x_t) · A_t) + value_cost · mean(A_t²) - entropy_cost · mean(H_t).
    The advantage is a constant in the first term and the value learns in the second only.

    "Asynchronous Methods for Deep Reinforcement Learning", Mnih et al. 2016, section 4; the
    scale of the terms is that of OpenAI Baselines' A2C and of GALA (value_cost 0.5 on the mean
    square).

    Args:
        log_probs: [T, B] log π(a_t|x_t).
        entropies: [T, B] H(π(·|x_t)).
        values: [T, B] V(x_t).
        returns: [T, B] G_t, without gradient.
        value_cost: weight of the value error.
        entropy_cost: weight of the entropy.
        weights: [T, B] 1 for a step that is learned from, else 0; None: all are.
    """
    check_equal_shapes(returns=returns, log_probs=log_probs, entropies=entropies, values=values)
    advantages = returns.detach() - values
    policy = -mean(log_probs * advantages.detach(), weights)
    value = mean(advantages.square(), weights)
    entropy = mean(entropies, weights)
    total = policy + value_cost * value - entropy_cost * entropy
    return ActorCriticLoss(total, policy, value, entropy)
