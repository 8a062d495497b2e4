"""Consensus distance and loss of the mean over simulated time."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gala_lab.simulation.random_streams import generators, uniform
from gala_lab.simulation.world import World

_POINTS = 200
"""Beyond this number every other point is dropped."""
_SPAN_LEARNERS = 1000
_GROWTH = 1.1
"""A mean square that is larger than a quarter of the time ago by this factor has not settled."""


class Point(NamedTuple):
    """A sample of the learners.

    Attributes:
        time_s: simulated.
        rms: root mean square distance of learners from their mean.
        span: largest distance between two learners.
        loss: loss of the mean, or of the server's parameters if there is a server.
    """

    time_s: float
    rms: float
    span: float
    loss: float


class SteadyState(NamedTuple):
    """Consensus distance in the steady state: over the second half of the points.

    Attributes:
        rms: root of the mean of squares.
        span: mean.
        is_growing: whether the last quarter of the points is farther out than the one before.
    """

    rms: float
    span: float
    is_growing: bool


class Curve:
    """Samples a world once per round of updates, less often as time goes on.

    Samples come at random within their rounds: at equal distances they might all fall just before
    learners average, or just after.

    Args:
        world: to sample.

    Attributes:
        points: 100 to 200 of them after that many rounds; the first is of the initial state.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._every = world.config.learners
        self._next = 0.0
        *_, generator = generators(world.config.seed, 4)  # World takes the first three.
        self._offset = uniform(generator)
        self.points: list[Point] = []
        self.observe(0.0)

    def observe(self, now_s: float) -> None:
        """Add a point, if one is due; called after every change."""
        if self._world.total_updates < self._next:
            return
        self.points.append(self._sample(now_s))
        if len(self.points) > _POINTS:
            del self.points[1::2]
            self._every *= 2
        rounds = self._world.total_updates // self._every + 1
        self._next = (rounds + next(self._offset)) * self._every

    def settled(self) -> SteadyState:
        """Return the steady state."""
        rms = np.array([point.rms for point in self.points])
        span = np.array([point.span for point in self.points])
        squares = np.square(rms)
        half, quarter = len(rms) // 2, math.ceil(len(rms) / 4)
        before, last = squares[-2 * quarter : -quarter], squares[-quarter:]
        is_growing = bool(last.mean() > _GROWTH * before.mean()) if len(before) else True
        return SteadyState(math.sqrt(squares[half:].mean()), float(span[half:].mean()), is_growing)

    def _sample(self, now_s: float) -> Point:
        world = self._world
        present = zip(world.parameters, world.is_present, strict=True)
        rows = np.stack([x for x, is_present in present if is_present] or world.parameters)
        # Relative to the first learner: the distance of equal learners is exactly 0.
        origin = rows[0].copy()
        rows -= origin
        mean = rows.mean(axis=0)
        rms, span = distances(rows - mean)
        center = origin + mean if world.served is None else world.served
        return Point(now_s, rms, span, world.problem.loss(center))


def distances(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return the root mean square length of rows, and the largest distance between two.

    Args:
        differences: [n, d] of learners from their mean. Of more than 1,000, the second is taken
            among 1,000 evenly spaced ones, so that it stays cheap.
    """
    squares = np.einsum("nd,nd->n", differences, differences)
    some = slice(None, None, math.ceil(len(differences) / _SPAN_LEARNERS))
    rows, lengths = differences[some], squares[some]
    between = lengths[:, None] + lengths[None, :] - 2 * rows @ rows.T
    return math.sqrt(squares.mean()), math.sqrt(max(0.0, float(between.max())))
