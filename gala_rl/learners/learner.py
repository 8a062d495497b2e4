"""What every learner is: the owner of the parameters, who improves them by trajectories."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gala_rl.flat import FlatParameters
from gala_rl.learners.optimizers import Optimizer
from gala_rl.trajectory import Trajectory


class UpdateMetrics(NamedTuple):
    """What an update saw; scalar tensors, not yet read back to the host.

    Attributes:
        details: what only some algorithms have, by the name of its column.
    """

    policy_loss: Tensor
    value_loss: Tensor
    entropy: Tensor
    grad_norm: Tensor
    update_norm: Tensor
    details: dict[str, Tensor]


class Learner(Protocol):
    """Turns a trajectory into new parameters, by one optimiser step or more.

    Attributes:
        state: [P + S] the parameters and, behind them, the optimiser's state.
        flat: all parameters, in the first part of `state`.
        optimizer: its state is the second part of `state`.
        generator: random state of its updates; None where they draw nothing.
    """

    state: Tensor
    flat: FlatParameters
    optimizer: Optimizer
    generator: torch.Generator | None

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """Learn from a trajectory.

        Args:
            trajectory: a rollout.
            learning_rate: of this update.
            out: [P] where the new parameters go; default: in place. Not on a GPU.
        """
