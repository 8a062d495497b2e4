"""The few numbers that learners' processes and their supervisor share, without locks.

Every cell has one writer. A number is eight aligned bytes, so it is read old or new, never torn,
whoever is killed while writing.
"""

import enum

import numpy as np
import torch
from numpy.typing import NDArray

from gala_rl.gossip.transports.shared import shared_zeros


class LearnerCounter(enum.IntEnum):
    """What a learner tells the supervisor."""

    AGENT_STEPS = 0
    UPDATES = 1
    HEARTBEAT_NS = 2
    CHECKPOINT_WRITTEN = 3
    READY = 4
    LEARNERS = 5
    """Number of learners that it went by in its last update."""
    DONE = 6
    """Whether it has ended because there was nothing left to do."""


class SharedCounters:
    """Counters of all learners, the supervisor's wishes, and everyone's optimiser state.

    The optimiser state is copied here now and then so that a restarted learner can begin with a
    neighbour's; a copy that is half old and half new is as good as either, element by element.
    So is a gradient, by which the supervisor sees how far learners agree.

    Members are the first so many learners; their number may change while a run goes on.

    Args:
        learners: number of members.
        size: P, length of a parameter vector.
        state_size: S, length of an optimiser's state.
        capacity: most members there can be; default: those that there are.
    """

    def __init__(
        self, learners: int, size: int, state_size: int, capacity: int | None = None
    ) -> None:
        capacity = learners if capacity is None else capacity
        self._cells = shared_zeros((capacity, len(LearnerCounter)), torch.int64)
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
        """Number of those that are members or have been."""
        return int(self._members[1])

    def set_learners(self, learners: int) -> None:
        """Written by the supervisor; learners look at it before each update."""
        self._members[1] = max(learners, self.learners_ever)
        self._members[0] = learners

    def restore(self, learners: int, agent_steps: list[int], updates: list[int]) -> None:
        """Set the number of members, and the progress of all that are or have been members."""
        self.set_learners(len(agent_steps))
        self.set_learners(learners)
        for rank, (steps, made) in enumerate(zip(agent_steps, updates, strict=True)):
            self.set(rank, LearnerCounter.AGENT_STEPS, steps)
            self.set(rank, LearnerCounter.UPDATES, made)

    def set(self, learner: int, cell: LearnerCounter, value: int) -> None:
        """Written by the learner (by the supervisor only before the learner starts)."""
        self._cells[learner, cell] = value

    def raise_progress(self, learner: int, agent_steps: int, updates: int) -> None:
        """Raise a learner's counters to these values; counters never decrease."""
        for cell, value in (
            (LearnerCounter.AGENT_STEPS, agent_steps),
            (LearnerCounter.UPDATES, updates),
        ):
            self.set(learner, cell, max(value, self.get(learner, cell)))

    def get(self, learner: int, cell: LearnerCounter) -> int:
        """Read by anybody."""
        return int(self._cells[learner, cell])

    def heartbeat(self, learner: int) -> NDArray[np.int64]:
        """[1] where a learner's process shows its signs of life; see `processes.heartbeat`."""
        place: NDArray[np.int64] = self._cells[learner].numpy()[LearnerCounter.HEARTBEAT_NS :][:1]
        return place

    def column(self, cell: LearnerCounter) -> list[int]:
        """One number of every learner that is a member or has been."""
        column: list[int] = self._cells[: self.learners_ever, cell].tolist()
        return column

    def members(self, cell: LearnerCounter) -> list[int]:
        """One number of every member."""
        return self.column(cell)[: self.learners]

    @property
    def total_agent_steps(self) -> int:
        """Of all learners together."""
        return int(self._cells[:, LearnerCounter.AGENT_STEPS].sum())

    @property
    def stop(self) -> bool:
        """Whether learners are asked to stop after the update they are in."""
        return bool(self._stop[0])

    def stop_flag(self) -> NDArray[np.int64]:
        """[1] not 0 once learners are asked to stop: for those that look at every step."""
        flag: NDArray[np.int64] = self._stop.numpy()
        return flag

    def ask_to_stop(self) -> None:
        """Written by the supervisor."""
        self._stop[0] = 1

    @property
    def checkpoint_wanted(self) -> int:
        """Number of the checkpoint that learners are asked for, 0 before the first."""
        return int(self._checkpoint[0])

    def ask_for_checkpoint(self, number: int) -> None:
        """Written by the supervisor; all before are over."""
        self._checkpoint[0] = number

    def give_checkpoint_up(self) -> None:
        """Written by the supervisor: nobody need contribute any more to what was asked for last."""
        self._checkpoint[1] = self._checkpoint[0]

    def awaits_checkpoint(self, number: int) -> bool:
        """Whether learners may still contribute to the checkpoint of that number."""
        return bool(self._checkpoint[1] < number == self._checkpoint[0])
