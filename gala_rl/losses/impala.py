"""The loss of IMPALA: an actor-critic whose targets and advantages V-trace has corrected."""

from torch import Tensor

from gala_rl.losses.actor_critic import ActorCriticLoss
from gala_rl.losses.means import mean
from gala_rl.losses.shapes import check_equal_shapes


def impala_loss(
    *,
    log_probs: Tensor,
    entropies: Tensor,
    values: Tensor,
    targets: Tensor,
    advantages: Tensor,
    value_cost: float,
    entropy_cost: float,
    weights: Tensor | None = None,
) -> ActorCriticLoss:
    """Return policy gradient loss for given advantages, squared value error and entropy; means.

    L = mean(-log π(a_t|x_t) · A_t) + value_cost · mean((v_t - V(x_t))²) - entropy_cost · mean(H_t).

    "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures",
    Espeholt et al. 2018, section 4.2. There the three terms are sums over the batch: T · B times
    these means, so a gradient norm or an ε of RMSprop that was chosen for sums has to be divided
    by T · B (by its square, if ε is inside the root). Its release takes half the squares, so its
    baseline cost 0.5 is value_cost 0.25.

    Args:
        log_probs: [T, B] log π(a_t|x_t).
        entropies: [T, B] H(π(·|x_t)).
        values: [T, B] V(x_t).
        targets: [T, B] v_t of `vtrace`; constant.
        advantages: [T, B] A_t of `vtrace`, with their ratio; constant.
        value_cost: weight of the value error.
        entropy_cost: weight of the entropy.
        weights: [T, B] 1 for a step that is learned from, else 0; None: all are.
    """
    check_equal_shapes(
        targets=targets,
        log_probs=log_probs,
        entropies=entropies,
        values=values,
        advantages=advantages,
    )
    policy = -mean(log_probs * advantages.detach(), weights)
    value = mean((targets.detach() - values).square(), weights)
    entropy = mean(entropies, weights)
    total = policy + value_cost * value - entropy_cost * entropy
    return ActorCriticLoss(total, policy, value, entropy)
