"""Rings of steps, one per simulator, that store every image once; see `placement` for padding.

The state of a recurrent network is stored where the rows of an item may begin: `burn_in` steps
before every `learned_steps`-th step of an episode. Two states that items need lie at least
`learned_steps` slots apart, so each block of that many positions has room for one.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.errors import UserError
from gala_rl.replay.placement import Cursor, Placement, Rollout, goes_on, place
from gala_rl.replay.settings import ReplaySettings

Indices = NDArray[np.int64]


class Slots(NamedTuple):
    """What is stored per simulator and slot.

    Attributes:
        images: [B, C, F] newest image of the observation, or the whole observation.
        actions: [B, C]
        rewards: [B, C]
        terminated: [B, C]
        truncated: [B, C]
        offsets: [B, C] steps since the start of the episode; -1: the slot holds no step.
        begins: [B, C] whether an item begins with the step.
        older: [B, C] images in the slots before that belong to the stack.
        errors: [B, C] |TD error| with which the step was added; NaN: unknown.
    """

    images: NDArray[Any]
    actions: NDArray[np.int32]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    offsets: NDArray[np.int32]
    begins: NDArray[np.bool_]
    older: NDArray[np.int16]
    errors: NDArray[np.float32]


_TYPES = (np.int32, np.float32, np.bool_, np.bool_, np.int32, np.bool_, np.int16, np.float32)


def memory_bytes(settings: ReplaySettings) -> int:
    """Return the memory of the rings, without what is kept per simulator."""
    image = settings.frame_size * settings.observation_type.itemsize
    slot = image + sum(np.dtype(kind).itemsize for kind in _TYPES)
    states = settings.state_slots * settings.state_size * 4
    return settings.simulators * (settings.slots * slot + states)


def ranges(starts: Indices, stops: Indices) -> tuple[Indices, Indices]:
    """Return all positions of [b] ranges in one array, and before it the range of each."""
    lengths = np.maximum(stops - starts, 0)
    rows = np.repeat(np.arange(len(starts)), lengths)
    return rows, np.arange(lengths.sum()) + np.repeat(
        starts - (lengths.cumsum() - lengths), lengths
    )


class StepRing:
    """Stores the last C slots of each simulator; positions count slots from the very first one.

    Args:
        settings: size and content.

    Attributes:
        settings: size and content.
        cursor: where each simulator's writing stopped.
        steps: agent steps in the rings.
    """

    def __init__(self, settings: ReplaySettings) -> None:
        count, size = settings.simulators, settings.slots
        self.settings = settings
        self.steps = 0
        images = np.zeros((count, size, settings.frame_size), settings.observation_type)
        fields: list[NDArray[Any]] = [np.zeros((count, size), kind) for kind in _TYPES]
        self._slots = Slots(images, *fields)
        self._slots.offsets.fill(-1)
        shape = (count, settings.state_slots, settings.state_size)
        self._states = np.zeros(shape, np.float32)
        positions, flags = np.zeros(count, np.int64), np.zeros(count, np.bool_)
        stacks = np.zeros((count, settings.frame_stack, settings.frame_size), images.dtype)
        self.cursor = Cursor(positions, positions.copy(), stacks, flags, flags.copy(), flags.copy())

    def broken(self, rollout: Rollout, rings: Indices) -> Indices:
        """Return those of the rings whose last episode a rollout should go on with, but does not.

        Steps are missing then.
        """
        cursor = self.cursor.at(rings)
        return rings[(cursor.heads > 0) & ~cursor.is_first & ~goes_on(rollout, cursor)]

    def end(self, rings: Indices) -> None:
        """Truncate the episodes under way; what was seen after their last steps is known."""
        cursor, slots = self.cursor, self._slots
        slots.truncated[self._at(rings, cursor.heads[rings] - 1)] = True
        self._clear(rings, cursor.heads[rings] + 1)
        self._pad(rings, cursor.heads[rings], cursor.observations[rings, -1])
        cursor.heads[rings] += 1
        cursor.closed[rings] = cursor.heads[rings]

    def place(self, rollout: Rollout, rings: Indices) -> Placement:
        """Return where a rollout goes, without writing it.

        Raises:
            UserError: if it is longer than the rings.
        """
        cursor = self.cursor.at(rings)
        last = self._at(rings, cursor.heads - 1)
        before = self._slots.offsets[last], self._slots.older[last]
        placement = place(rollout, rings, cursor, before, self.settings)
        longest = int((placement.cursor.heads - cursor.heads).max())
        if longest > self.settings.slots:
            raise UserError(
                f"a replay of {self.settings.size:,} agent steps has no room for a rollout of "
                f"{len(rollout.rewards):,} steps of {self.settings.simulators:,} simulators: "
                f"it needs at least {longest * self.settings.simulators:,}"
            )
        return placement

    def write(
        self, rollout: Rollout, placement: Placement, errors: NDArray[np.float32] | None
    ) -> None:
        """Write a rollout where it was placed.

        Args:
            rollout: T steps of b simulators.
            placement: from `place`.
            errors: [T, b] |TD error| of the steps, NaN where unknown; None: all are unknown.
        """
        rings, slots = placement.rings, self._slots
        self._clear(rings, placement.cursor.heads)
        t, b = np.nonzero(~rollout.resets)
        self.steps += len(t)
        at = self._at(rings[b], placement.positions[t, b])
        slots.images[at] = rollout.images[t, b, -1]
        slots.actions[at] = rollout.actions[t, b]
        slots.rewards[at] = rollout.rewards[t, b]
        slots.terminated[at] = rollout.terminated[t, b]
        slots.truncated[at] = rollout.truncated[t, b]
        slots.offsets[at] = placement.offsets[t, b]
        slots.begins[at] = placement.begins[t, b]
        slots.older[at] = placement.older[t, b]
        slots.errors[at] = np.nan if errors is None else errors[t, b]
        self._write_padding(rollout, placement)
        if rollout.states is not None:
            self._write_states(rollout.states, placement, t, b)
        for mine, new in zip(self.cursor, placement.cursor, strict=True):
            mine[rings] = new

    def _clear(self, rings: Indices, heads: Indices) -> None:
        """Remove what is in the slots before new heads [b]."""
        rows, positions = ranges(self.cursor.heads[rings], heads)
        slots, at = self._slots, self._at(rings[rows], positions)
        self.steps -= int((slots.offsets[at] >= 0).sum())
        slots.offsets[at] = -1
        slots.terminated[at] = slots.truncated[at] = slots.begins[at] = False

    def _pad(self, rings: Indices, positions: Indices, images: NDArray[Any]) -> None:
        """Write final observations behind their episodes' last steps."""
        at = self._at(rings, positions)
        self._slots.images[at] = images
        older = self._slots.older[self._at(rings, positions - 1)] + 1
        self._slots.older[at] = np.minimum(older, self.settings.frame_stack - 1)

    def _write_padding(self, rollout: Rollout, placement: Placement) -> None:
        for image in range(1, self.settings.frame_stack):
            t, b = np.nonzero(placement.prefix >= image)
            at = self._at(placement.rings[b], placement.positions[t, b] - image)
            self._slots.images[at] = rollout.images[t, b, -1 - image]
        t, b = np.nonzero(rollout.truncated)
        if len(t) > 0:
            assert rollout.final_images is not None, "the actor stores no final observations"
            positions = placement.positions[t, b] + 1
            self._pad(placement.rings[b], positions, rollout.final_images[t, b])

    def _write_states(
        self, states: NDArray[np.float32], placement: Placement, t: Indices, b: Indices
    ) -> None:
        length, offsets = self.settings.learned_steps, placement.offsets[t, b]
        kept = (offsets > 0) & ((offsets + self.settings.burn_in) % length == 0)
        t, b = t[kept], b[kept]
        self._states[self._state_at(placement.rings[b], placement.positions[t, b])] = states[t, b]

    def _state_at(self, rings: Indices, positions: Indices) -> tuple[Indices, Indices]:
        return rings, positions // self.settings.learned_steps % self.settings.state_slots

    def _at(self, rings: Indices, positions: Indices) -> tuple[Indices, Indices]:
        return rings, positions % self.settings.slots

    @property
    def tails(self) -> Indices:
        """[B] oldest position that is stored."""
        return np.maximum(self.cursor.heads - self.settings.slots, 0)

    def read(self, name: str, rings: Indices, positions: Indices) -> NDArray[Any]:
        """Return a field of `Slots` but the images, at positions of the same shape as `rings`."""
        values: NDArray[Any] = getattr(self._slots, name)[self._at(rings, positions)]
        return values

    def alive(self, rings: Indices, positions: Indices, count: int) -> NDArray[np.bool_]:
        """Return [count, N]: whether the steps from some on are of the same episode as the first.

        Args:
            rings: [N]
            positions: [N] of steps.
            count: number of rows; positions after the end of an episode may lie past the head.
        """
        at = self._at(rings, positions + np.arange(count)[:, None])
        ended = self._slots.terminated[at] | self._slots.truncated[at]
        alive = np.ones(ended.shape, dtype=np.bool_)
        alive[1:] = ~np.logical_or.accumulate(ended[:-1], axis=0)
        return alive

    def observations(
        self, rings: Indices, positions: Indices, shown: NDArray[np.bool_] | None = None
    ) -> Tensor:
        """Return observations [..., *shape], with stacks built from the images of several slots.

        Args:
            rings: [...]
            positions: [...]
            shown: [...] others are zeros; default: all.
        """
        settings, (rings, slots) = self.settings, self._at(rings, positions)
        ages = np.arange(settings.frame_stack)[::-1]
        images = (slots[..., None] - ages) % settings.slots + rings[..., None] * settings.slots
        found = np.empty((images.size, settings.frame_size), settings.observation_type)
        # With "clip", which changes no index here, NumPy writes to `out` without a buffer.
        flat = self._slots.images.reshape(-1, settings.frame_size)
        flat.take(images.ravel(), axis=0, out=found, mode="clip")
        is_zero = ages > self._slots.older[rings, slots][..., None]
        if shown is not None:
            is_zero |= ~shown[..., None]
        found[is_zero.ravel()] = 0
        return torch.from_numpy(found.reshape(*positions.shape, *settings.observation.shape))

    def states(self, rings: Indices, positions: Indices) -> NDArray[np.float32]:
        """Return [N, S] states before steps; zeros where an episode begins at the step or later."""
        inside = (self.read("offsets", rings, positions) > 0)[:, None]
        return np.where(inside, self._states[self._state_at(rings, positions)], np.float32(0.0))

    def parts(self, used: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield names and views of all arrays, up to the given slot; images per simulator."""
        for name, array in self.cursor._asdict().items():
            yield f"cursor.{name}", array
        for name, array in self._slots._asdict().items():
            if name != "images":
                yield f"slots.{name}", array[:, :used]
        yield "states", self._states
        for ring, images in enumerate(self._slots.images):
            yield f"images.{ring}", images[:used]

    def recount(self) -> None:
        """Count the stored steps, after the arrays were written directly."""
        self.steps = int((self._slots.offsets >= 0).sum())
