"""Interface of a learner, which owns a network's parameters and updates them from trajectories."""

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.flat import FlatParameters
from gala_rl.learners.optimizers import Optimizer
from gala_rl.models.network import Network
from gala_rl.spaces import ObservationSpec
from gala_rl.trajectory import Trajectory


class UpdateMetrics(NamedTuple):
    """Metrics of an update: scalar tensors, not yet copied to the host.

    Attributes:
        grad_norm: Euclidean norm of the gradient before clipping.
        update_norm: Euclidean norm of the change of the parameters.
        losses: terms of the loss and other quantities of the algorithm, by metrics column.
    """

    grad_norm: Tensor
    update_norm: Tensor
    losses: dict[str, Tensor]


class RolloutSource(NamedTuple):
    """What a learner's rollouts are like, for one that stores them.

    Attributes:
        simulators: simulators of the learner.
        observation: spec of an observation.
        frame_stack: images in an observation, of which all but the last were seen before.
    """

    simulators: int
    observation: ObservationSpec
    frame_stack: int = 1


class Learner(Protocol):
    """Turns a trajectory into new parameters, by one optimizer step or more.

    Attributes:
        state: [P + S] the parameters, followed by the optimizer's state.
        flat: all parameters, in the first part of `state`.
        optimizer: its state is the second part of `state`.
        generator: random state of its updates; None if they draw nothing.
        initial_learning_rate: learning rate at step 0, updated when the number of learners
            changes. Other annealed settings follow the current learning rate relative to it.
        should_stop: called between the gradient steps of an update, if it has several; returns
            whether to skip the rest.
    """

    state: Tensor
    flat: FlatParameters
    optimizer: Optimizer
    generator: torch.Generator | None
    initial_learning_rate: float
    should_stop: Callable[[], bool]

    def update(
        self, trajectory: Trajectory, learning_rate: float, out: Tensor | None = None
    ) -> UpdateMetrics:
        """Learn from a trajectory.

        Args:
            trajectory: a rollout.
            learning_rate: learning rate of this update.
            out: [P] where the new parameters go; default: in place. Not on a GPU.
        """

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs beside parameters, optimizer and generator, by name."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from `tensors`, after parameters and optimizer were loaded."""

    def replay_arrays(self) -> dict[str, NDArray[Any]]:
        """Return its replay as views by name, to be saved before the next update; or nothing."""

    def restore_replay(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue with the replay of `replay_arrays`, after `restore`.

        Raises:
            ValueError: when it is not one of such a learner.
        """


class OnPolicyLearner:
    """Base of learners that save parameters, optimizer and generator alone; see `Learner`."""

    def tensors(self) -> dict[str, Tensor]:
        """See `Learner.tensors`."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Learner.restore`."""

    def replay_arrays(self) -> dict[str, NDArray[Any]]:
        """See `Learner.replay_arrays`."""
        return {}

    def restore_replay(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `Learner.restore_replay`."""


class Coupling(Protocol):
    """Shares gradients, parameters or moments with other learners within each gradient step."""

    def average(self, grads: Tensor) -> None:
        """Combine the gradient [P] across learners, in place, before it is clipped."""

    def make_optimizer(
        self, parameters: Tensor, settings: AlgorithmSettings, memory: Tensor
    ) -> Optimizer:
        """Build the optimizer, as `gala_rl.learners.optimizers.make_optimizer` does."""

    def counting(self, moments: Tensor) -> AbstractContextManager[None]:
        """Return a context in which a rollout is counted into the shared running moments [M]."""


def make_learner(
    network: Network,
    settings: AlgorithmSettings,
    *,
    initial_learning_rate: float,
    seed: int,
    coupling: Coupling | None = None,
    source: RolloutSource | None = None,
) -> Learner:
    """Return the learner of an algorithm, which takes over the network's parameters.

    Args:
        network: network to improve.
        settings: settings of the algorithm; they name the module that makes its learner.
        initial_learning_rate: learning rate of the run's first update.
        seed: seed of random draws within updates.
        coupling: what is shared with other learners within each gradient step; None: nothing.
        source: what its rollouts are like; needed where they are stored.
    """
    stored = {"source": source} if settings.learns_action_values else {}
    learner: Learner = importlib.import_module(settings.learner).make_learner(
        network,
        settings,
        initial_learning_rate=initial_learning_rate,
        seed=seed,
        coupling=coupling,
        **stored,
    )
    return learner
