"""Seeds, saves and restores the global generators of `random` and numpy, for environments."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PYTHON, _NUMPY = 625, 624
"""Lengths of the two generators' states: 624 words; Python's includes the position."""


def seed_generators(*entropy: int) -> None:
    """Seed the global generators of this process.

    Args:
        entropy: the run's seed, and numbers that distinguish this process from the run's others.
    """
    words = np.random.SeedSequence(entropy).generate_state(8)
    random.seed(words[:4].tobytes())
    np.random.seed(words[4:])  # noqa: NPY002 - environments draw from this one


@contextmanager
def seeded_generators(*entropy: int) -> Iterator[None]:
    """Seed the global generators within a block, and restore the caller's states afterwards."""
    python, numpy = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
    try:
        seed_generators(*entropy)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def get_generator_states() -> NDArray[np.float64]:
    """Return the states of the global generators as one array; float64 holds each word exactly."""
    _, python, normal = random.getstate()
    state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    _, words, *rest = state
    normals = (normal is not None, normal or 0.0)
    return np.array([*python, *normals, *words, *rest], dtype=np.float64)


def set_generator_states(state: NDArray[np.float64]) -> None:
    """Restore the global generators from an array of `get_generator_states`.

    Raises:
        ValueError, OverflowError: when the array holds no such states.
    """
    python, (has_normal, normal) = state[:_PYTHON], state[_PYTHON : _PYTHON + 2]
    words, rest = state[_PYTHON + 2 :][:_NUMPY], state[_PYTHON + 2 + _NUMPY :]
    position, has_gauss, gauss = int(rest[0]), int(rest[1]), float(rest[2])
    if not 0 <= position <= _NUMPY:
        raise ValueError(f"{position} is no position among {_NUMPY} words")
    random.setstate((3, tuple(int(word) for word in python), normal if has_normal else None))
    numpy = np.array([int(word) for word in words], dtype=np.uint32)
    np.random.set_state(("MT19937", numpy, position, has_gauss, gauss))  # noqa: NPY002
