"""A sum tree draws in proportion to priorities, and its sums stay those of its leaves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala_rl.replay.priority_tree import PriorityTree
from tests.support.statistics import chi_square_p

sizes = pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 256, 257, 5000])


def tree_of(priorities: list[float] | NDArray[np.float64]) -> PriorityTree:
    tree = PriorityTree(len(priorities))
    tree.update(np.arange(len(priorities)), np.asarray(priorities))
    return tree


class Fixed(np.random.Generator):
    """Draws the same number every time: 0, or the largest below 1."""

    def __init__(self, number: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._number = number

    def random(self, size: int) -> NDArray[np.float64]:  # type: ignore[override]
        return np.full(size, self._number)


@sizes
def test_the_total_is_the_sum_of_the_leaves(size: int) -> None:
    priorities = np.random.default_rng(0).exponential(size=size)
    assert tree_of(priorities).total == pytest.approx(priorities.sum(), rel=1e-12)


@sizes
def test_leaves_are_drawn_as_often_as_their_priorities_say(size: int) -> None:
    rng = np.random.default_rng(1)
    priorities = rng.exponential(size=size) * (rng.random(size) < 0.8)
    priorities[0] = 1.0
    tree = tree_of(priorities)
    # One at a time: strata make counts more even than chance.
    leaves = np.concatenate([tree.sample(1, rng)[0] for _ in range(2_000)])
    p = chi_square_p(np.bincount(leaves, minlength=size), priorities / priorities.sum())
    assert p > 0.001


def test_large_samples_follow_the_priorities_too() -> None:
    rng = np.random.default_rng(2)
    priorities = rng.exponential(size=300) ** 2
    tree = tree_of(priorities)
    leaves, probabilities = tree.sample(100_000, rng)
    np.testing.assert_allclose(probabilities, priorities[leaves] / priorities.sum())
    assert chi_square_p(np.bincount(leaves, minlength=300), priorities / priorities.sum()) > 0.001
    assert chi_square_p(np.bincount(leaves, minlength=300), np.full(300, 1 / 300)) < 0.001


def test_each_part_of_the_total_is_drawn_from_once() -> None:
    tree = tree_of(np.ones(100))
    leaves, _ = tree.sample(100, np.random.default_rng(0))
    assert sorted(leaves.tolist()) == list(range(100))


def test_where_a_leaf_is_repeated_the_last_priority_counts() -> None:
    tree = tree_of([1.0, 1.0, 1.0])
    tree.update(np.array([1, 2, 1, 1]), np.array([9.0, 3.0, 8.0, 5.0]))
    assert tree.leaves.tolist() == [1.0, 5.0, 3.0]
    assert tree.total == 9.0


@given(
    st.lists(st.sampled_from([0.0, 0.0, 1e-12, 0.1, 1 / 3, 1e12]), min_size=1, max_size=300),
    st.sampled_from([0.0, 0.5, np.nextafter(1.0, 0.0), 1.0]),
    st.integers(1, 9),
)
def test_no_draw_is_past_the_end_or_of_priority_zero(
    priorities: list[float], number: float, count: int
) -> None:
    if not any(priorities):
        priorities[-1] = 1.0
    tree = tree_of(priorities)
    leaves, probabilities = tree.sample(count, Fixed(number))
    assert (leaves < len(priorities)).all()
    assert (leaves >= 0).all()
    assert (np.asarray(priorities)[leaves] > 0.0).all()
    assert (probabilities > 0.0).all()


def test_after_a_million_updates_the_sums_are_those_of_a_rebuilt_tree() -> None:
    rng, size = np.random.default_rng(3), 1000
    tree = PriorityTree(size)
    for _ in range(10_000):
        # Large and tiny in turn: differences would lose the tiny ones.
        tree.update(rng.integers(size, size=100), 10.0 ** rng.uniform(-9, 9, size=100))
    exact = float(np.sum(tree.leaves.astype(np.longdouble)))
    assert abs(tree.total - exact) <= 1e-9 * exact
    again = PriorityTree(size)
    again.leaves[:] = tree.leaves
    again.rebuild()
    assert all(map(np.array_equal, tree._levels, again._levels))
    tree.update(np.arange(size), 1e-9)
    assert tree.total == pytest.approx(1e-6, rel=1e-9)


def test_an_empty_tree_says_that_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to sample"):
        PriorityTree(5).sample(1, np.random.default_rng(0))


def test_memory_is_known_beforehand() -> None:
    for size in (1, 16, 17, 1000, 70_000):
        assert PriorityTree.memory_bytes(size) == sum(x.nbytes for x in PriorityTree(size)._levels)
