"""Streams of random numbers, drawn in blocks: one draw at a time costs ten times as much."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_BLOCK = 4096


def generators(seed: int, count: int) -> list[np.random.Generator]:
    """Return independent generators: draws of one kind never shift those of another."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]


def positive(
    generator: np.random.Generator, distribution: str, variation: float
) -> Iterator[float]:
    """Yield positive numbers of mean 1.

    Args:
        generator: to draw from.
        distribution: "gamma" or "lognormal".
        variation: standard deviation / mean; 0 for ones.
    """
    while True:
        if variation == 0:
            block = np.ones(_BLOCK)
        elif distribution == "gamma":
            block = generator.gamma(variation**-2, variation**2, _BLOCK)
        else:
            log_variance = math.log1p(variation**2)
            block = generator.lognormal(-log_variance / 2, math.sqrt(log_variance), _BLOCK)
        yield from block.tolist()


def exponential(generator: np.random.Generator) -> Iterator[float]:
    """Yield exponential numbers of mean 1: the times between failures."""
    return positive(generator, "gamma", 1.0)


def normal(generator: np.random.Generator, dimension: int, deviation: float) -> Iterator[Vector]:
    """Yield vectors [dimension] of independent normal elements."""
    rows = max(1, _BLOCK // dimension)
    while True:
        yield from deviation * generator.standard_normal((rows, dimension))


def uniform(generator: np.random.Generator) -> Iterator[float]:
    """Yield numbers from 0 to 1."""
    while True:
        yield from generator.random(_BLOCK).tolist()


def below(generator: np.random.Generator, limit: int) -> Iterator[int]:
    """Yield whole numbers from 0 to limit - 1."""
    while True:
        yield from generator.integers(limit, size=_BLOCK).tolist()
