"""Problems that simulated learners learn: small enough to be exact, with noisy gradients."""

from typing import Protocol

import numpy as np

from gala_lab.simulation.random_streams import Vector, below, normal
from gala_lab.simulation.simulation_config import SimulationConfig

_SAMPLES, _BATCH = 4096, 32


class Problem(Protocol):
    """The problem of all learners. Vectors that it returns or is given are never written to."""

    def start(self) -> Vector:
        """Return the initial parameters [d] of all learners."""

    def update(self, parameters: Vector) -> Vector:
        """Return what one update adds to parameters [d]: -learning rate x a noisy gradient."""

    def loss(self, parameters: Vector) -> float:
        """Return the loss without noise; NaN if the problem has none."""


class Quadratic:
    """½ Σ_k h_k x_k² with curvatures h from 0.1 to 1, started at x = 1."""

    def __init__(self, config: SimulationConfig, generator: np.random.Generator) -> None:
        self._curvature = np.geomspace(0.1, 1.0, config.dimension)
        self._pull = -config.learning_rate * self._curvature
        deviation = config.learning_rate * config.noise
        self._noise = normal(generator, config.dimension, deviation)

    def start(self) -> Vector:
        """See `Problem.start`."""
        return np.ones_like(self._curvature)

    def update(self, parameters: Vector) -> Vector:
        """See `Problem.update`."""
        return self._pull * parameters + next(self._noise)

    def loss(self, parameters: Vector) -> float:
        """See `Problem.loss`."""
        return float(0.5 * self._curvature @ np.square(parameters))


class RandomWalk:
    """Updates that are noise alone, of length learning rate x noise x √d in root mean square."""

    def __init__(self, config: SimulationConfig, generator: np.random.Generator) -> None:
        self._dimension = config.dimension
        deviation = config.learning_rate * config.noise
        self._noise = normal(generator, config.dimension, deviation)

    def start(self) -> Vector:
        """See `Problem.start`."""
        return np.zeros(self._dimension)

    def update(self, parameters: Vector) -> Vector:
        """See `Problem.update`."""
        return next(self._noise)

    def loss(self, parameters: Vector) -> float:
        """See `Problem.loss`."""
        return float("nan")


class Logistic:
    """Logistic regression on synthetic data: labels drawn from a random linear teacher.

    A gradient is that of 32 neighbours among 4,096 shuffled samples; the loss is that of all.
    """

    def __init__(self, config: SimulationConfig, generator: np.random.Generator) -> None:
        self._learning_rate = config.learning_rate
        teacher = generator.standard_normal(config.dimension)
        self._inputs = generator.standard_normal((_SAMPLES, config.dimension))
        chances = _sigmoid(self._inputs @ teacher)
        self._labels = (generator.random(_SAMPLES) < chances).astype(np.float64)
        self._first = below(generator, _SAMPLES - _BATCH + 1)

    def start(self) -> Vector:
        """See `Problem.start`."""
        return np.zeros(self._inputs.shape[1])

    def update(self, parameters: Vector) -> Vector:
        """See `Problem.update`."""
        first = next(self._first)
        inputs = self._inputs[first : first + _BATCH]
        errors = self._labels[first : first + _BATCH] - _sigmoid(inputs @ parameters)
        return (self._learning_rate / _BATCH) * (errors @ inputs)

    def loss(self, parameters: Vector) -> float:
        """See `Problem.loss`: the mean negative log-likelihood."""
        scores = self._inputs @ parameters
        return float(np.mean(np.logaddexp(0.0, scores) - self._labels * scores))


def _sigmoid(scores: Vector) -> Vector:
    return 0.5 * (1.0 + np.tanh(0.5 * scores))


def make_problem(config: SimulationConfig, generator: np.random.Generator) -> Problem:
    """Return the problem that the config names."""
    kinds: dict[str, type[Quadratic] | type[Logistic] | type[RandomWalk]] = {
        "quadratic": Quadratic,
        "logistic": Logistic,
        "random-walk": RandomWalk,
    }
    return kinds[config.problem](config, generator)
