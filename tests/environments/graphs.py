"""Functions from a number of learners to the edges of a graph, right and wrong ones."""

import itertools
from typing import Any

import networkx  # type: ignore[import-untyped]
import numpy as np


def star(learners: int) -> list[tuple[int, int]]:
    leaves = range(1, learners)
    return [(0, leaf) for leaf in leaves] + [(leaf, 0) for leaf in leaves]


def wheel(learners: int) -> Any:
    return networkx.circulant_graph(learners, [1]) if learners > 1 else networkx.DiGraph([])


def ring_of_numpy(learners: int) -> Any:
    return np.stack([np.arange(learners), (np.arange(learners) + 1) % learners], axis=1)


def even(learners: int) -> list[tuple[int, int]]:
    if learners % 2:
        raise ValueError("an even number, please")
    return star(learners)


def one_way(learners: int) -> list[tuple[int, int]]:
    return [(0, 1)]


def loop(learners: int) -> list[tuple[int, int]]:
    return [(0, 0), *star(learners)]


def outside(learners: int) -> list[tuple[int, int]]:
    return [*star(learners), (0, learners)]


def halves(learners: int) -> Any:
    return [(0.5, 1.0)]


def triples(learners: int) -> Any:
    return [(0, 1, 2)]


def nothing(learners: int) -> None:
    return None


def too_small(learners: int) -> Any:
    return networkx.complete_graph(learners - 1)


CALLS = itertools.count()


def unseeded(learners: int) -> list[tuple[int, int]]:
    return star(learners)[next(CALLS) % 2 :]
