"""The probability ε of random actions of each simulator of an actor."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.models.exploration import epsilon_ladder


def epsilons_of(
    config: ResolvedConfig, rank: int, simulators: range
) -> Callable[[int], Tensor] | None:
    """Return a function from total agent steps to the ε [b] of some of a learner's simulators.

    Args:
        config: config of the run.
        rank: rank of the learner.
        simulators: numbers of the simulators among those of the learner.

    Returns:
        The function; None if the network's policy is random itself.
    """
    if not config.algorithm.learns_action_values:
        return None
    first = rank * config.simulators + simulators.start
    return partial(_epsilons, config, first, len(simulators))


def _epsilons(config: ResolvedConfig, first: int, count: int, agent_steps: int) -> Tensor:
    epsilon = config.algorithm.epsilon_at(agent_steps / config.steps)
    if epsilon is not None:
        return torch.full((count,), epsilon)
    # A learner that joins later may have a rank that was not there at the start.
    ladder = epsilon_ladder(max(config.total_simulators, first + count))
    return ladder[first : first + count]
