"""Counters that learners' processes and their supervisor share, without locks.

Each counter has one writer. It is eight aligned bytes, so a reader gets the old or the new value,
never a torn one, even if the writer is killed.
"""

import enum

import numpy as np
import torch
from numpy.typing import NDArray

from gala_rl.gossip.transports.shared import shared_zeros


class LearnerCounter(enum.IntEnum):
    """Columns of the counters that a learner reports to the supervisor."""

    AGENT_STEPS = 0
    UPDATES = 1
    HEARTBEAT_NS = 2
    CHECKPOINT_WRITTEN = 3
    READY = 4
    LEARNERS = 5
    """Number of learners in the run as of its latest update."""
    DONE = 6
    """1 once it has ended normally, so that it is not restarted."""


class SharedCounters:
    """Counters per learner, the supervisor's requests, optimiser states and gradients.

    Learners copy their optimiser state here with each metrics row, so that a restarted neighbour
    can start from it. A copy that is half old and half new does no harm: each element is valid by
    itself. The same holds for gradients, which the consensus monitor compares.

    Members are the learners of the lowest ranks; their number may change during a run.

    Args:
        learners: number of members.
        size: P, length of a parameter vector.
        state_size: S, length of an optimiser's state.
        capacity: the largest possible number of members; default: `learners`.
    """

    def __init__(
        self, learners: int, size: int, state_size: int, capacity: int | None = None
    ) -> None:
        capacity = learners if capacity is None else capacity
        self._counters = shared_zeros((capacity, len(LearnerCounter)), torch.int64)
        self._members = shared_zeros((2,), torch.int64)
        self.set_learners(learners)
        self._stop = shared_zeros((1,), torch.int64)
        self._checkpoint = shared_zeros((2,), torch.int64)
        self.optimizer_states = shared_zeros((capacity, state_size), torch.float32)
        self.gradients = shared_zeros((capacity, size), torch.float32)

    @property
    def learners(self) -> int:
        """Number of members."""
        return int(self._members[0])

    @property
    def learners_ever(self) -> int:
        """Number of learners that are or have been members."""
        return int(self._members[1])

    def set_learners(self, learners: int) -> None:
        """Set the number of members, which learners read before each update."""
        self._members[1] = max(learners, self.learners_ever)
        self._members[0] = learners

    def restore(self, learners: int, agent_steps: list[int], updates: list[int]) -> None:
        """Set the number of members, and the progress of all present and former members."""
        self.set_learners(len(agent_steps))
        self.set_learners(learners)
        for rank, (steps, made) in enumerate(zip(agent_steps, updates, strict=True)):
            self.set(rank, LearnerCounter.AGENT_STEPS, steps)
            self.set(rank, LearnerCounter.UPDATES, made)

    def set(self, learner: int, counter: LearnerCounter, value: int) -> None:
        """Set a counter; the supervisor may do so only before the learner starts."""
        self._counters[learner, counter] = value

    def raise_progress(self, learner: int, agent_steps: int, updates: int) -> None:
        """Raise a learner's counters to these values; counters never decrease."""
        for counter, value in (
            (LearnerCounter.AGENT_STEPS, agent_steps),
            (LearnerCounter.UPDATES, updates),
        ):
            self.set(learner, counter, max(value, self.get(learner, counter)))

    def get(self, learner: int, counter: LearnerCounter) -> int:
        """Return a counter."""
        return int(self._counters[learner, counter])

    def heartbeat(self, learner: int) -> NDArray[np.int64]:
        """Return the memory [1] for the heartbeat of a learner's process."""
        counter = LearnerCounter.HEARTBEAT_NS
        memory: NDArray[np.int64] = self._counters[learner, counter : counter + 1].numpy()
        return memory

    def column(self, counter: LearnerCounter) -> list[int]:
        """Return a counter of all learners that are or have been members, by rank."""
        column: list[int] = self._counters[: self.learners_ever, counter].tolist()
        return column

    def members(self, counter: LearnerCounter) -> list[int]:
        """Return a counter of all members, by rank."""
        return self.column(counter)[: self.learners]

    @property
    def total_agent_steps(self) -> int:
        """Agent steps of all learners together."""
        return int(self._counters[:, LearnerCounter.AGENT_STEPS].sum())

    @property
    def stop(self) -> bool:
        """Whether a stop after the current update has been requested."""
        return bool(self._stop[0])

    def stop_flag(self) -> NDArray[np.int64]:
        """Return memory [1] that is nonzero once a stop has been requested, for quick checks."""
        flag: NDArray[np.int64] = self._stop.numpy()
        return flag

    def request_stop(self) -> None:
        """Request a stop of all learners after their current update."""
        self._stop[0] = 1

    @property
    def requested_checkpoint(self) -> int:
        """Number of the newest requested checkpoint; 0 before the first."""
        return int(self._checkpoint[0])

    def request_checkpoint(self, number: int) -> None:
        """Request parts of a checkpoint; this cancels all earlier requests."""
        self._checkpoint[0] = number

    def cancel_checkpoint(self) -> None:
        """Cancel the latest request for a checkpoint."""
        self._checkpoint[1] = self._checkpoint[0]

    def awaits_checkpoint(self, number: int) -> bool:
        """Return whether learners may still contribute to the checkpoint of this number."""
        return bool(self._checkpoint[1] < number == self._checkpoint[0])
