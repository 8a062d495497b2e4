"""Seeds the global generators of `random` and numpy, from which some environments draw."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PYTHON, _NUMPY = 625, 624
"""Lengths of the two generators' states: 624 words, in Python's with the position in them."""


def seed_generators(*entropy: int) -> None:
    """Seed the global generators of this process, which is nobody else's.

    Args:
        entropy: the run's seed, and what tells this process from the others of the run.
    """
    words = np.random.SeedSequence(entropy).generate_state(8)
    random.seed(words[:4].tobytes())
    np.random.seed(words[4:])  # noqa: NPY002 - environments draw from this one


@contextmanager
def seeded_generators(*entropy: int) -> Iterator[None]:
    """Seed the global generators of a program that is a caller's, and give its states back."""
    python, numpy = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
    try:
        seed_generators(*entropy)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def generators_state() -> NDArray[np.float64]:
    """The states of the global generators as numbers, each of them exact."""
    _, python, normal = random.getstate()
    state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    _, words, *rest = state
    normals = (normal is not None, normal or 0.0)
    return np.array([*python, *normals, *words, *rest], dtype=np.float64)


def restore_generators(state: NDArray[np.float64]) -> None:
    """Have the global generators go on from a `generators_state`.

    Raises:
        ValueError, OverflowError: when it is none.
    """
    python, (has_normal, normal) = state[:_PYTHON], state[_PYTHON : _PYTHON + 2]
    words, rest = state[_PYTHON + 2 :][:_NUMPY], state[_PYTHON + 2 + _NUMPY :]
    position, has_gauss, gauss = int(rest[0]), int(rest[1]), float(rest[2])
    if not 0 <= position <= _NUMPY:
        raise ValueError(f"{position} is no position among {_NUMPY} words")
    random.setstate((3, tuple(int(word) for word in python), normal if has_normal else None))
    numpy = np.array([int(word) for word in words], dtype=np.uint32)
    np.random.set_state(("MT19937", numpy, position, has_gauss, gauss))  # noqa: NPY002
