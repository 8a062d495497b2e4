"""Where the steps of a rollout go in the rings of their simulators.

A step takes one slot. A slot without a step is padding and holds an image only:

* after a truncated step, the newest image of the final observation, from which returns bootstrap;
* before a step whose stack of images does not continue the one before, its older images. Those
  that are zero, as in the first observation of a game of ALE's, are left out.

The loss of a life ends the return while the game goes on, and with it the stack.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.replay.settings import ReplaySettings
from gala_rl.trajectory import Trajectory


class Cursor(NamedTuple):
    """Where the writing of each simulator stopped. Positions count slots from the very first one.

    Attributes:
        heads: [B] int64 next position.
        closed: [B] int64 position after the last episode that has ended.
        observations: [B, frame_stack, F] what the simulator showed last, not yet stored.
        is_first: [B] whether an episode begins with it.
        continues: [B] whether its stack continues that of the step before.
        is_midway: [B] whether the start of the episode under way is missing.
    """

    heads: NDArray[np.int64]
    closed: NDArray[np.int64]
    observations: NDArray[Any]
    is_first: NDArray[np.bool_]
    continues: NDArray[np.bool_]
    is_midway: NDArray[np.bool_]

    def at(self, rings: NDArray[np.int64]) -> "Cursor":
        """Return a copy of some simulators' rows."""
        return Cursor._make(array[rings] for array in self)


class Rollout(NamedTuple):
    """A trajectory of b simulators as NumPy arrays.

    Attributes:
        images: [T + 1, b, frame_stack, F] observations.
        final_images: [T, b, F] the newest images of final observations; None: there are none.
        actions: [T, b]
        rewards: [T, b]
        terminated: [T, b]
        truncated: [T, b] without resets.
        resets: [T, b] steps that only reset their simulators; they are not stored.
        is_first: [T + 1, b]
        states: [T, b, S] before the observations; None without memory.
    """

    images: NDArray[Any]
    final_images: NDArray[Any] | None
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    resets: NDArray[np.bool_]
    is_first: NDArray[np.bool_]
    states: NDArray[np.float32] | None

    def columns(self, columns: NDArray[np.int64]) -> "Rollout":
        """Return some simulators' columns of all fields."""
        return Rollout._make(None if x is None else x[:, columns] for x in self)


class Placement(NamedTuple):
    """Where a rollout goes.

    Attributes:
        rings: [b] the simulators' indices in the replay.
        positions: [T, b] of the steps.
        offsets: [T, b] steps since the start of the episode.
        begins: [T, b] whether an item begins with them.
        older: [T, b] older images of the stack that are stored, in the slots before.
        prefix: [T, b] how many of them are written as padding before the step.
        cursor: the simulators' cursor after the rollout.
    """

    rings: NDArray[np.int64]
    positions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    begins: NDArray[np.bool_]
    older: NDArray[np.int64]
    prefix: NDArray[np.int64]
    cursor: Cursor


def rollout_of(trajectory: Trajectory, settings: ReplaySettings) -> Rollout:
    """Return a trajectory's fields as arrays in main memory."""

    def array(tensor: Tensor) -> NDArray[Any]:
        return tensor.detach().cpu().numpy()

    shape = (settings.frame_stack, settings.frame_size)
    observations = array(trajectory.observations)
    terminated, truncated = array(trajectory.terminated), array(trajectory.truncated)
    finals = trajectory.final_observations
    states = trajectory.states if settings.state_size > 0 else None
    assert states is not None or settings.state_size == 0, "the actor stores no states"
    return Rollout(
        images=observations.reshape(*observations.shape[:2], *shape),
        final_images=None
        if finals is None
        else array(finals).reshape(*truncated.shape, *shape)[:, :, -1],
        actions=array(trajectory.actions),
        rewards=array(trajectory.rewards),
        terminated=terminated & ~truncated,
        truncated=truncated & ~terminated,
        resets=terminated & truncated,
        is_first=array(trajectory.is_first),
        states=None if states is None else array(states),
    )


def goes_on(rollout: Rollout, cursor: Cursor) -> NDArray[np.bool_]:
    """Return [b]: whether the rollout begins where its simulator's last one stopped."""
    same: NDArray[np.bool_] = (rollout.images[0] == cursor.observations).all(axis=(1, 2))
    same &= (cursor.heads > 0) & (rollout.is_first[0] == cursor.is_first)
    return same


def place(
    rollout: Rollout,
    rings: NDArray[np.int64],
    cursor: Cursor,
    last: tuple[NDArray[Any], NDArray[Any]],
    settings: ReplaySettings,
) -> Placement:
    """Return where the steps of a rollout go.

    Args:
        rollout: T steps of b simulators.
        rings: [b] the simulators' indices in the replay.
        cursor: where they stopped, b rows.
        last: [b] offset and number of older images of each simulator's last step.
        settings: settings of the replay.
    """
    is_continued = goes_on(rollout, cursor)
    is_first, length = rollout.is_first[:-1], settings.learned_steps
    # The offset of the first step of which a state is kept.
    first_state = length - settings.burn_in % length
    # Of an episode whose start is missing, the second state is kept: one right at the start could
    # take the place of another. The first item begins `burn_in` steps after it.
    before = np.where(is_continued, last[0], first_state)
    offsets = _counted(~is_first, before, np.zeros(1, dtype=np.int64))
    is_midway = np.where(is_continued, cursor.is_midway, True)
    is_midway = is_midway & ~np.logical_or.accumulate(is_first, axis=0)
    learned = ~is_midway | (offsets >= first_state + length + settings.burn_in)
    begins = learned & (offsets % length == 0)
    continues = _continues(rollout, settings)
    continues[0] = is_continued & cursor.continues
    prefix = np.where(continues[:-1] | rollout.resets, 0, _older_images(rollout, continues))
    older = np.minimum(_counted(continues[:-1], last[1], prefix), settings.frame_stack - 1)
    widths = np.where(rollout.resets, 0, 1 + prefix + rollout.truncated)
    ends = cursor.heads + widths.cumsum(axis=0)
    positions = ends - rollout.truncated - 1
    has_ended = rollout.terminated | rollout.truncated
    after = Cursor(
        heads=ends[-1],
        closed=np.maximum(cursor.closed, np.where(has_ended, ends, 0).max(axis=0)),
        observations=rollout.images[-1],
        is_first=rollout.is_first[-1],
        continues=continues[-1],
        is_midway=is_midway[-1],
    )
    return Placement(rings, positions, offsets, begins, older, prefix, after)


def _counted(
    goes_on: NDArray[np.bool_], before: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return counts [T, b] that rise by one where they go on, and else begin at `starts`."""
    starts = np.broadcast_to(starts, goes_on.shape)
    counts = np.empty(goes_on.shape, dtype=np.int64)
    for t in range(len(goes_on)):
        before = counts[t] = np.where(goes_on[t], before + 1, starts[t])
    return counts


def _continues(rollout: Rollout, settings: ReplaySettings) -> NDArray[np.bool_]:
    """Return [T + 1, b]: whether each stack is the one before, moved by one image."""
    continues = ~rollout.is_first
    if settings.frame_stack > 1:
        # Padding or a reset lies between a truncated step and what follows.
        may = rollout.is_first[1:] & ~rollout.truncated & ~rollout.resets
        t, b = np.nonzero(may)
        moved = rollout.images[t + 1, b, :-1] == rollout.images[t, b, 1:]
        continues[t + 1, b] = moved.all(axis=(1, 2))
    return continues


def _older_images(rollout: Rollout, continues: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return [T, b]: older images of stacks that begin anew, without leading zero images."""
    stack = rollout.images.shape[2]
    counts = np.zeros(rollout.rewards.shape, dtype=np.int64)
    if stack > 1:
        t, b = np.nonzero(~continues[:-1])
        is_shown = (rollout.images[t, b, :-1] != 0).any(axis=2)
        counts[t, b] = np.where(is_shown.any(axis=1), stack - 1 - is_shown.argmax(axis=1), 0)
    return counts
