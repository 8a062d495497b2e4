"""Which items of a replay can be sampled, and their priorities."""

import numpy as np
from numpy.typing import NDArray

from gala_rl.replay.batches import SampleKeys
from gala_rl.replay.priority_tree import PriorityTree
from gala_rl.replay.step_ring import Indices, StepRing, ranges

_SMALLEST = 1e-6
"""Lowest priority: an item without an error must still be sampled now and then."""


class ItemIndex:
    """Priorities of all items that are whole: nothing that they need is missing or overwritten.

    An item's leaf in the tree is the slot of its first learned step. The exponent of priorities is
    applied here alone, when they enter the tree.

    Args:
        ring: the stored steps.
        needs_previous: whether an item needs the step before its first row too.

    Attributes:
        count: number of items that can be sampled.
        entered: [B] position up to which items have entered the tree.
        highest: [1] highest priority so far; 0: none is known.
        tree: the priorities, raised to the exponent.
    """

    def __init__(self, ring: StepRing, *, needs_previous: bool) -> None:
        settings = ring.settings
        self._ring, self._settings, self._needs_previous = ring, settings, needs_previous
        self.count = 0
        self.entered = np.zeros(settings.simulators, dtype=np.int64)
        self.highest = np.zeros(1)
        self.tree = PriorityTree(settings.simulators * settings.slots)

    def leave(self, rings: Indices, heads: Indices) -> None:
        """Remove items of which something will be overwritten, before it is.

        Args:
            rings: [b] simulators.
            heads: [b] positions up to which they will be written.
        """
        tails = np.maximum(heads - self._settings.slots, 0)
        reach = self._settings.burn_in + self._settings.frame_stack
        rows, positions = ranges(
            self._ring.tails[rings], np.minimum(tails + reach, self.entered[rings])
        )
        leaves = self._leaf(rings[rows], positions)
        stored = self.tree.leaves[leaves] > 0.0
        rows, positions, leaves = rows[stored], positions[stored], leaves[stored]
        gone = leaves[self._first_needed(rings[rows], positions) < tails[rows]]
        self.count -= len(gone)
        self.tree.update(gone, 0.0)

    def enter(self, rings: Indices) -> None:
        """Add items that the rollouts written to some simulators have completed."""
        settings, cursor = self._settings, self._ring.cursor
        lookahead = settings.learned_steps + settings.n_steps - 1
        bounds = np.maximum(cursor.closed[rings], cursor.heads[rings] - lookahead)
        bounds = np.maximum(bounds, self.entered[rings])
        tails = self._ring.tails[rings]
        rows, positions = ranges(np.maximum(self.entered[rings], tails), bounds)
        self.entered[rings] = bounds
        begins = self._ring.read("begins", rings[rows], positions)
        rows, positions = rows[begins], positions[begins]
        whole = self._first_needed(rings[rows], positions) >= tails[rows]
        simulators, positions = rings[rows][whole], positions[whole]
        self.count += len(positions)
        self._set(self._leaf(simulators, positions), self._initial(simulators, positions))

    def _first_needed(self, rings: Indices, positions: Indices) -> Indices:
        """Return the first slot that an item needs, in the order of positions.

        If an item's first row has been overwritten, what is read there does not matter: the result
        is at most that row.
        """
        burn_in = np.minimum(self._ring.read("offsets", rings, positions), self._settings.burn_in)
        first = positions - burn_in
        before = self._ring.read("older", rings, first).astype(np.int64)
        if self._needs_previous:
            has_previous = self._ring.read("offsets", rings, first) > 0
            before = np.maximum(before, has_previous)
        needed: Indices = first - before
        return needed

    def _initial(self, rings: Indices, positions: Indices) -> NDArray[np.float64]:
        """Return the priorities of new items, from their steps' errors where these are known."""
        length = self._settings.learned_steps
        rows = positions + np.arange(length)[:, None]
        errors = self._ring.read("errors", np.broadcast_to(rings, rows.shape), rows)
        known = self._ring.alive(rings, positions, length) & ~np.isnan(errors)
        errors = np.where(known, errors, 0.0).astype(np.float64)
        count = known.sum(axis=0)
        share = self._settings.max_share
        mixed = share * errors.max(axis=0) + (1.0 - share) * errors.sum(axis=0) / np.maximum(
            count, 1
        )
        self._raise_highest(mixed[count > 0])
        return np.where(count > 0, mixed, self.highest[0] or 1.0)

    def _raise_highest(self, priorities: NDArray[np.float64]) -> None:
        self.highest[0] = priorities.max(initial=self.highest[0])

    def _set(self, leaves: Indices, priorities: NDArray[np.float64]) -> None:
        powers = np.maximum(priorities, _SMALLEST) ** self._settings.priority_exponent
        self.tree.update(leaves, powers)

    def _leaf(self, rings: Indices, positions: Indices) -> Indices:
        return rings * self._settings.slots + positions % self._settings.slots

    def sample(
        self, count: int, rng: np.random.Generator, importance_exponent: float
    ) -> tuple[SampleKeys, NDArray[np.float32]]:
        """Draw items [N] in proportion to their priorities, with their importance weights [N]."""
        leaves, probabilities = self.tree.sample(count, rng)
        rings, slots = np.divmod(leaves, self._settings.slots)
        newest = self._ring.cursor.heads[rings] - 1
        positions = newest - (newest - slots) % self._settings.slots
        weights = (probabilities / probabilities.min()) ** -importance_exponent
        return SampleKeys(rings, positions, leaves), weights.astype(np.float32)

    def update(self, keys: SampleKeys, priorities: NDArray[np.float64]) -> None:
        """Set priorities [N], except of items that have left the tree and those not finite."""
        is_stored = keys.position >= self._ring.tails[keys.simulator]
        is_stored &= self.tree.leaves[keys.leaf] > 0.0
        is_stored &= np.isfinite(priorities)
        self._raise_highest(priorities[is_stored])
        self._set(keys.leaf[is_stored], priorities[is_stored])

    def recount(self) -> None:
        """Compute what follows from the priorities, after they were written directly."""
        self.tree.rebuild()
        self.count = int((self.tree.leaves > 0.0).sum())
