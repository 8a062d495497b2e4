"""Sum tree over priorities: draws leaves with probabilities in proportion to them."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHILDREN = 16
"""Children per node. Few levels of wide rows take NumPy less time than many levels of pairs."""


def _level_sizes(leaves: int) -> list[int]:
    """Return the sizes of all levels, leaves first, each filled up to whole rows of children."""
    sizes: list[int] = []
    while not sizes or leaves > 1:
        parents = -(-leaves // _CHILDREN)
        sizes.append(parents * _CHILDREN)
        leaves = parents
    return sizes


class PriorityTree:
    """Priorities of M leaves and, level by level, the float64 sums of every 16 of them.

    A sum is always computed from all of its children, never by adding a difference to it. So no
    rounding errors build up, and the sums equal those of a rebuilt tree bit for bit.

    Args:
        leaves: M.
    """

    def __init__(self, leaves: int) -> None:
        self._levels = [np.zeros(size) for size in _level_sizes(leaves)]
        self.leaves: NDArray[np.float64] = self._levels[0][:leaves]

    @staticmethod
    def memory_bytes(leaves: int) -> int:
        """Return the memory of a tree of that many leaves."""
        return 8 * sum(_level_sizes(leaves))

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._levels[-1].sum())

    def update(self, leaves: NDArray[np.int64], priorities: NDArray[Any] | float) -> None:
        """Set the priorities of some leaves; where a leaf is repeated, the last one counts.

        Args:
            leaves: [N] indices in 0 … M - 1.
            priorities: [N] finite, not negative; a leaf of priority 0 is never drawn.
        """
        self.leaves[leaves] = priorities
        nodes = leaves
        for children, parents in pairwise(self._levels):
            nodes = nodes // _CHILDREN
            parents[nodes] = children.reshape(-1, _CHILDREN)[nodes].sum(axis=1)

    def rebuild(self) -> None:
        """Compute all sums, after `leaves` were written directly."""
        for children, parents in pairwise(self._levels):
            sums = children.reshape(-1, _CHILDREN).sum(axis=1)
            parents[: len(sums)] = sums

    def sample(
        self, count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw one leaf from each of `count` equal parts of the total.

        Returns:
            leaves: [count] indices of leaves with positive priorities.
            probabilities: [count] priority divided by the total.

        Raises:
            ValueError: if no priority is positive.
        """
        if (total := self.total) <= 0.0:
            raise ValueError("there is nothing to sample: no priority is positive")
        targets = (np.arange(count) + rng.random(count)) * (total / count)
        nodes = np.zeros(count, dtype=np.int64)
        rows = np.arange(count)
        for level in reversed(self._levels):
            children = level.reshape(-1, _CHILDREN)[nodes]
            sums = children.cumsum(axis=1)
            # The first child whose sum exceeds the target has a positive priority. By rounding, a
            # target may lie past the end: then it is the last child with a positive priority.
            chosen = (sums <= targets[:, None]).sum(axis=1)
            last = _CHILDREN - 1 - (children[:, ::-1] > 0.0).argmax(axis=1)
            chosen = np.minimum(chosen, last)
            targets -= np.where(chosen > 0, sums[rows, chosen - 1], 0.0)
            nodes = nodes * _CHILDREN + chosen
        return nodes, self.leaves[nodes] / total
