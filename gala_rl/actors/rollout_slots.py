"""Shared memory for whole rollouts that actors write and their learner reads, without locks.

Every actor has slots of its own. Either the actor owns a slot or the learner does, and ownership is
passed by one byte through the socket between the two: the number of the slot. An actor sends it
when the rollout is complete; the learner sends it back when it has copied the rollout. So

* the learner never reads a half-written rollout of a killed actor: it does not own the slot;
* only the learner tracks the slots: it passes those of a dead actor to its successor;
* the number of slots bounds the queue, and an actor without a slot waits.

The socket also orders memory: what was written before the byte was sent is visible to the process
that has received it.
"""

import copy
import enum
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.envs import Episode, Simulators
from gala_rl.gossip.transports.shared import shared_zeros
from gala_rl.models.network import Network
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Trajectory

MakeModel = Callable[[ObservationSpec, ActionSpec], Network]

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
"""Fields of a trajectory that are copied from actor to learner."""

REPLAY_FIELDS = ("values", "action_values", "states", "final_observations")
"""Fields that are copied too if the learner has a replay."""


class RolloutInfo(enum.IntEnum):
    """Columns of the metadata that an actor stores with a rollout."""

    VERSION = 0
    """Version of the parameters that chose the actions."""
    EPISODES = 1
    """Number of episodes that ended."""
    FAILURES = 2
    """Simulators rebuilt after a failure since the actor's last rollout."""


class RolloutSlots:
    """Slots of one actor, or of several in sequence; pass them to processes as arguments.

    Whatever the number of slots, a process has one descriptor open per field.

    Args:
        count: number of slots.
        like: a trajectory [T, b] with `log_probs`, of the same shapes and types.
    """

    def __init__(self, count: int, like: Trajectory) -> None:
        self._fields: dict[str, Tensor] = {}
        has_replay = like.final_observations is not None
        for name in (*FIELDS, *(REPLAY_FIELDS if has_replay else ())):
            example: Tensor | None = getattr(like, name)
            if example is not None:
                self._fields[name] = shared_zeros((count, *example.shape), example.dtype)
        self._info = shared_zeros((count, len(RolloutInfo)), torch.int64)
        # Simulator, score, agent steps, time. At most one episode ends per agent step.
        self._episodes = shared_zeros((count, like.agent_steps, 4), torch.float64)

    @property
    def count(self) -> int:
        """Number of slots."""
        return len(self._info)

    def split(self, count: int) -> list["RolloutSlots"]:
        """Return views of the same memory, `count` slots each."""
        parts = []
        for first in range(0, self.count, count):
            rows = slice(first, first + count)
            parts.append(part := copy.copy(self))
            part._fields = {name: memory[rows] for name, memory in self._fields.items()}
            part._info, part._episodes = self._info[rows], self._episodes[rows]
        return parts

    def write(
        self,
        slot: int,
        rollout: Trajectory,
        version: int,
        episodes: Sequence[Episode],
        failures: int,
    ) -> None:
        """Write a rollout to a slot that this actor owns."""
        for name, memory in self._fields.items():
            _copy(memory[slot], getattr(rollout, name), rollout.truncated, name)
        self._info[slot] = torch.tensor([version, len(episodes), failures])
        if episodes:
            rows = [(e.simulator, e.score, e.agent_steps, e.ended_at) for e in episodes]
            self._episodes[slot, : len(rows)] = torch.tensor(rows, dtype=torch.float64)

    def read(self, slot: int, into: Trajectory, rows: slice) -> None:
        """Copy a rollout [T, b] to some columns of a trajectory [T, B]."""
        for name, memory in self._fields.items():
            target: Tensor = getattr(into, name)
            part = target[rows] if name == "initial_state" else target[:, rows]
            _copy(part, memory[slot], self._fields["truncated"][slot], name)

    def content(self, slot: int) -> NDArray[np.uint8]:
        """Return a copy of the bytes of a slot, for a slot of the same shape on another machine."""
        return np.concatenate([part.numpy() for part in self._parts(slot)])

    def put(self, slot: int, content: NDArray[np.uint8]) -> bool:
        """Write the result of `content` to a slot; return whether its type and size are right."""
        parts = self._parts(slot)
        if content.dtype != np.uint8 or content.shape != (sum(map(len, parts)),):
            return False
        begin = 0
        for part in parts:
            part.numpy()[:] = content[begin : begin + len(part)]
            begin += len(part)
        return True

    def _parts(self, slot: int) -> list[Tensor]:
        memories = (*self._fields.values(), self._info, self._episodes)
        return [memory[slot].flatten().view(torch.uint8) for memory in memories]

    def is_valid(self, slot: int, version: int, simulators: int) -> bool:
        """Return whether the metadata and episodes of a rollout are possible.

        Args:
            slot: slot of the rollout.
            version: newest version of the parameters.
            simulators: number of simulators of all actors of the learner.
        """
        acted, games, failures = self._info[slot].tolist()
        episodes = self._episodes[slot]
        if not (0 <= acted <= version and 0 <= games <= len(episodes) and failures >= 0):
            return False
        simulator, _, steps, _ = columns = episodes[:games].unbind(1)
        whole = all(bool(column.isfinite().all()) for column in columns)
        return whole and bool(((simulator >= 0) & (simulator < simulators) & (steps >= 1)).all())

    def info(self, slot: int, item: RolloutInfo) -> int:
        """Return one item of the metadata of a rollout."""
        return int(self._info[slot, item])

    def episodes(self, slot: int) -> list[Episode]:
        """Return the episodes that ended in a rollout."""
        rows = self._episodes[slot, : self.info(slot, RolloutInfo.EPISODES)].tolist()
        return [Episode(int(i), score, int(steps), time) for i, score, steps, time in rows]


def _copy(target: Tensor, source: Tensor, truncated: Tensor, name: str) -> None:
    """Copy a field, of final observations only those that are read: where truncated [T, b]."""
    if name == "final_observations":
        target[truncated] = source[truncated].to(target.device)
    else:
        target.copy_(source)


def slots_of(actors: int, config: ResolvedConfig, example: tuple[Tensor, ...]) -> RolloutSlots:
    """Allocate the slots of that many actors, one after another."""
    algorithm = config.algorithm
    share = config.simulators // algorithm.actor_count
    like = storage(config, share, example, torch.device("cpu"))
    return RolloutSlots(actors * algorithm.slots_per_actor, like)


def example_of(make_model: MakeModel, simulators: Simulators) -> tuple[Tensor, ...]:
    """Return an example observation [1, ...], action [1] or [1, A] and state [1, S]."""
    observation = torch.from_numpy(simulators.reset(0))[:1]
    model = make_model(simulators.observation, simulators.action)
    simulators.close()
    state = model.initial_state(1)
    with torch.no_grad():
        action = model.act(observation, torch.Generator(), state)
    return observation, action, state


def storage(
    config: ResolvedConfig, batch: int, example: tuple[Tensor, ...], device: torch.device
) -> Trajectory:
    """Allocate a batch [T, B] of rollouts shaped like the example."""
    observation, action, state = (x.expand(batch, *x.shape[1:]) for x in example)
    trajectory = Trajectory.allocate(
        config.algorithm.rollout_steps, observation, action, state, device, with_behaviour=True
    )
    if config.algorithm.learns_action_values:
        trajectory = trajectory.with_action_values().with_replay_fields()
    return trajectory
