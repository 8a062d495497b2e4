"""Interface of the source of a learner's trajectories: an actor here, or actor processes."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor

from gala_rl.envs import Episode
from gala_rl.trajectory import Trajectory


class StopRequested(Exception):
    """Raised when a stop is requested before an update; the rollout is dropped."""


def never() -> bool:
    """Return False: the default of `should_stop`."""
    return False


class TrajectorySource(Protocol):
    """Collects a learner's trajectories: an actor in the same process, or actor processes.

    Attributes:
        trajectory: the object that `collect` returns.
        episodes: finished full games that have not been read yet, oldest first.
        should_stop: called at every step; returns whether to raise `StopRequested`.
        total_agent_steps: agent steps of all learners so far, on which exploration may depend.
    """

    trajectory: Trajectory
    episodes: deque[Episode]
    should_stop: Callable[[], bool]
    total_agent_steps: int

    @property
    def frames_per_step(self) -> int:
        """Emulator frames in an agent step; 1 without an emulator."""

    @property
    def failures(self) -> int:
        """Number of simulators rebuilt so far because they raised, died or hung."""

    def collect(self) -> Trajectory:
        """Return the next trajectory to learn from; always the same object.

        Raises:
            StopRequested: when a stop was requested meanwhile; the trajectory is dropped.
        """

    def take_metrics(self) -> dict[str, float]:
        """Return metrics that only this kind of source has, since the last call, by column."""

    def state(self) -> dict[str, Tensor]:
        """Return the state for a checkpoint, by name; partial if simulators cannot be saved."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a `state`; simulators that are not in it start new games."""

    def close(self) -> None:
        """Release simulators and processes."""
