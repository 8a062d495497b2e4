"""The source of a learner's trajectories: an actor in its process, or actor processes."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor

from gala_rl.envs import Episode
from gala_rl.trajectory import Trajectory


class StopRequested(Exception):
    """Raised when a learner is asked to stop in the middle of an update; drops its rollout."""


def never() -> bool:
    """Return False: the default of `wants_stop`."""
    return False


class TrajectorySource(Protocol):
    """Source of a learner's trajectories: an actor in its own process, or several in theirs.

    Attributes:
        trajectory: the object that `collect` returns.
        episodes: finished full games that have not been read yet, oldest first.
        wants_stop: asked at every step: whether to raise `StopRequested`.
    """

    trajectory: Trajectory
    episodes: deque[Episode]
    wants_stop: Callable[[], bool]

    @property
    def frames_per_step(self) -> int:
        """Emulator frames in an agent step; 1 without an emulator."""

    @property
    def failures(self) -> int:
        """Number of simulators rebuilt so far because they raised, died or hung."""

    def collect(self) -> Trajectory:
        """Return the next trajectory to learn from; always the same object.

        Raises:
            StopRequested: when the learner was asked to stop meanwhile; the trajectory is dropped.
        """

    def take_metrics(self) -> dict[str, float]:
        """Return metrics of this source alone since the last call, by column."""

    def state(self) -> dict[str, Tensor]:
        """Return all that it takes to continue, by name; less if simulators cannot be saved."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a `state`; what it lacks starts anew."""

    def close(self) -> None:
        """Release simulators and processes."""
