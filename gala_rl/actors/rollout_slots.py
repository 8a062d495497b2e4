"""Memory for whole rollouts that actors' processes fill and their learner empties, without locks.

Every actor has slots of its own. A slot is in the hands of its actor, or in the learner's, and
changes hands by one byte through the socket between the two: the number of the slot. An actor
sends it when the rollout is complete; the learner sends it back when it has copied the rollout.
So

* what an actor that is killed has half written was never handed over, and is never learned from;
* the learner alone keeps the books: it gives the slots that a dead actor had to its successor;
* the queue is bounded by the slots, and an actor that has none waits.

The socket also orders memory: all that was written before the byte was sent is seen by whoever has
received it.
"""

import copy
import enum
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.envs import Episode
from gala_rl.gossip.transports.shared import shared_zeros
from gala_rl.trajectory import Trajectory

FIELDS = (
    "observations",
    "actions",
    "rewards",
    "terminated",
    "truncated",
    "truncation_values",
    "log_probs",
    "initial_state",
    "is_first",
)
"""Fields of a trajectory that an actor hands over to its learner."""


class RolloutInfo(enum.IntEnum):
    """What an actor tells beside a rollout."""

    VERSION = 0
    """Of the parameters that acted."""
    EPISODES = 1
    """Number of games that ended."""
    FAILURES = 2
    """Simulators that were built anew after a failure, since the actor's last rollout."""


class RolloutSlots:
    """The slots of one actor, or of several one after another; pass them to processes as arguments.

    However many slots there are, a process holds one descriptor for each field.

    Args:
        count: number of slots.
        like: a trajectory [T, b] with `log_probs`; its shapes and types are used.
    """

    def __init__(self, count: int, like: Trajectory) -> None:
        self._fields: dict[str, Tensor] = {}
        for name in FIELDS:
            example: Tensor = getattr(like, name)
            self._fields[name] = shared_zeros((count, *example.shape), example.dtype)
        self._notes = shared_zeros((count, len(RolloutInfo)), torch.int64)
        # Simulator, score, agent steps, time; no more games end in a rollout than it has steps.
        self._episodes = shared_zeros((count, like.agent_steps, 4), torch.float64)

    @property
    def count(self) -> int:
        """Number of slots."""
        return len(self._notes)

    def split(self, count: int) -> list["RolloutSlots"]:
        """The same memory, `count` slots of an actor each."""
        return [self._part(slice(first, first + count)) for first in range(0, self.count, count)]

    def _part(self, rows: slice) -> "RolloutSlots":
        part = copy.copy(self)
        part._fields = {name: memory[rows] for name, memory in self._fields.items()}
        part._notes, part._episodes = self._notes[rows], self._episodes[rows]
        return part

    def write(
        self,
        slot: int,
        rollout: Trajectory,
        version: int,
        episodes: Sequence[Episode],
        failures: int,
    ) -> None:
        """Fill a slot; only the actor that has it in its hands may."""
        for name, memory in self._fields.items():
            memory[slot].copy_(getattr(rollout, name))
        self._notes[slot] = torch.tensor([version, len(episodes), failures])
        if episodes:
            rows = [(e.simulator, e.score, e.agent_steps, e.ended_at) for e in episodes]
            self._episodes[slot, : len(rows)] = torch.tensor(rows, dtype=torch.float64)

    def read(self, slot: int, into: Trajectory, rows: slice) -> None:
        """Copy a rollout [T, b] to those rows of a trajectory [T, B]."""
        for name, memory in self._fields.items():
            place: Tensor = getattr(into, name)
            (place[rows] if name == "initial_state" else place[:, rows]).copy_(memory[slot])

    def content(self, slot: int) -> NDArray[np.uint8]:
        """A copy of all that is in a slot, for the same slots on another machine."""
        return np.concatenate([part.numpy() for part in self._parts(slot)])

    def put(self, slot: int, content: NDArray[np.uint8]) -> bool:
        """Fill a slot with what `content` gave; returns whether it can have come from there."""
        parts = self._parts(slot)
        if content.dtype != np.uint8 or content.shape != (sum(map(len, parts)),):
            return False
        begin = 0
        for part in parts:
            part.numpy()[:] = content[begin : begin + len(part)]
            begin += len(part)
        return True

    def _parts(self, slot: int) -> list[Tensor]:
        memories = (*self._fields.values(), self._notes, self._episodes)
        return [memory[slot].flatten().view(torch.uint8) for memory in memories]

    def is_sound(self, slot: int, version: int, simulators: int) -> bool:
        """Whether what stands beside a rollout can be true.

        Args:
            slot: of the rollout.
            version: newest there is.
            simulators: of all the learner's actors.
        """
        acted, games, failures = self._notes[slot].tolist()
        episodes = self._episodes[slot]
        if not (0 <= acted <= version and 0 <= games <= len(episodes) and failures >= 0):
            return False
        simulator, _, steps, _ = told = episodes[:games].unbind(1)
        whole = all(bool(column.isfinite().all()) for column in told)
        return whole and bool(((simulator >= 0) & (simulator < simulators) & (steps >= 1)).all())

    def note(self, slot: int, note: RolloutInfo) -> int:
        """One of the numbers beside a rollout."""
        return int(self._notes[slot, note])

    def episodes(self, slot: int) -> list[Episode]:
        """The games that ended in a rollout."""
        rows = self._episodes[slot, : self.note(slot, RolloutInfo.EPISODES)].tolist()
        return [Episode(int(i), score, int(steps), time) for i, score, steps, time in rows]
