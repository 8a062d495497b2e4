"""ε-greedy exploration: the best action, or with probability ε any of them."""

import torch
from torch import Tensor

EVALUATION_EPSILON = 1e-3
"""ε of games that are played for evaluation, as in SEED RL."""

_EPSILON, _ALPHA = 0.4, 7.0
"""The first simulator's ε, and α: the last one's is ε^(1 + α)."""


def epsilon_ladder(count: int) -> Tensor:
    """Return ε_i = 0.4^(1 + 7 i / (N - 1)) of N simulators, from 0.4 down to 0.0007.

    "Distributed Prioritized Experience Replay", Horgan et al. 2018, section 4.1.

    Args:
        count: N, simulators of all actors together; each actor has a slice of the result.
    """
    steps = torch.arange(count, dtype=torch.float64) / max(1, count - 1)
    return torch.pow(_EPSILON, 1.0 + _ALPHA * steps).to(torch.float32)


def epsilon_greedy(q_values: Tensor, epsilons: Tensor, generator: torch.Generator) -> Tensor:
    """Return random actions [N].

    Args:
        q_values: [N, A].
        epsilons: [N] or [1].
        generator: source of randomness.
    """
    items, actions = q_values.shape
    device = q_values.device
    random = torch.randint(actions, (items,), generator=generator, device=device)
    explores = torch.rand(items, generator=generator, device=device) < epsilons.expand(items)
    return torch.where(explores, random, q_values.argmax(dim=-1))


def epsilon_greedy_log_probs(q_values: Tensor, actions: Tensor, epsilons: Tensor) -> Tensor:
    """Return the logarithm of the probability [N] with which `epsilon_greedy` takes the actions.

    Args:
        q_values: [N, A].
        actions: [N].
        epsilons: [N] or [1].
    """
    is_best = actions == q_values.argmax(dim=-1)
    return (epsilons / q_values.shape[-1] + (1.0 - epsilons) * is_best).log()
