"""The realised bound: how far apart learners can be, given the updates and mixes that happened.

Every parameter vector in a run is where the run began plus a sum of coefficient x update over all
updates of all learners. An update adds a coefficient of one; a mix averages coefficients as it
averages parameters. So the coefficients are known without the vectors, and by the triangle
inequality

    ‖x_a - x_b‖ ≤ Σ_e |c_ae - c_be| ‖u_e‖

for any order, delay or loss of messages, and for any number of learners that die and come back.
This is the bound of the GALA paper's Proposition 1 with the mixing matrices that were really
applied in place of a power of β, each pair of learners by itself (Assran et al. 2019; products of
row-stochastic matrices and their contraction: Dobrushin 1956). If updates are independent of one
another, the mean square distance is Σ_e (c_ae - c_be)² ‖u_e‖².
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HISTORY = 8
"""Versions of a learner, at least, that may still be mixed or kept."""
LONGEST_HISTORY, _MESSAGES = 64, 256
"""Few learners on a busy machine are told late of, and have small matrices: they have more."""
_FIRST_CAPACITY, _LARGEST_CAPACITY = 256, 16_384
_FORGOTTEN = 1e-12
"""An update is dropped once no two learners differ by more than this share of it."""


class Bounds(NamedTuple):
    """What the distances between learners can be.

    Attributes:
        span: upper bound of the largest distance between two learners.
        rms: upper bound of the root mean square distance from their mean.
        rms_independent: that distance if updates are independent of one another.
        largest_update: norm of the largest update that is not forgotten yet.
    """

    span: float
    rms: float
    rms_independent: float
    largest_update: float


class UntrackedError(LookupError):
    """Parameters came from somewhere that is not known any more."""


class Realised:
    """Coefficients of all updates in all learners' parameters, as events come in.

    Updates that every learner has in equal parts are forgotten. Where too many are left, what came
    before is summed up as one distance, D2's product of contractions.

    Args:
        learners: most there can be.
        capacity: most updates that are remembered one by one.
        members: those who begin, with equal parameters, the first so many; default: all. Others
            join by `adopt`.
    """

    def __init__(
        self, learners: int, capacity: int = _LARGEST_CAPACITY, members: int | None = None
    ) -> None:
        # Row i: learner i now. Row n + i: what is kept of it. Row 2n + i * H + version % H: what it
        # sent, H versions back.
        history = min(max(HISTORY, _MESSAGES // learners), LONGEST_HISTORY)
        rows = learners * (2 + history)
        self._learners = learners
        self._largest_capacity = max(capacity, 4 * rows)
        self._coefficients = np.zeros((rows, min(_FIRST_CAPACITY, self._largest_capacity)))
        self._norms = np.zeros(self._coefficients.shape[1])
        self._count = 0
        self._forgotten = 0.0
        self._versions = np.full((learners, history), -1, dtype=np.int64)
        self._kept = np.full(learners, -1, dtype=np.int64)
        self._is_held = np.zeros(learners, dtype=bool)
        self._is_member = np.arange(learners) < (learners if members is None else members)
        self._begins_equal = True

    def place(self, learner: int, distance: float) -> None:
        """A learner begins at a distance from a point that is common to all of them."""
        column = self._new_column(distance)
        self._coefficients[learner, :] = 0.0
        self._coefficients[learner, column] = 1.0
        self._begins_equal = False

    def place_sent(self, learner: int, version: int, distance: float) -> None:
        """A message that was on its way when the run was resumed, at a distance from that point."""
        column = self._new_column(distance)
        row = self._open(learner, version)
        self._coefficients[row, :] = 0.0
        self._coefficients[row, column] = 1.0

    def update(self, learner: int, version: int, norm: float) -> None:
        """A learner adds an update of that norm to its parameters and sends them."""
        column, row = self._new_column(norm), self._open(learner, version)
        self._coefficients[learner, column] = 1.0
        self._coefficients[row, : self._count] = self._coefficients[learner, : self._count]
        if self._kept[learner] == version:
            self._keep(learner, row)

    def keep(self, versions: Sequence[int]) -> None:
        """Keep what the learners sent as these versions, and nothing that was kept before.

        Whoever copies messages and is told afterwards what came before and after them would else
        find some of them forgotten.

        Args:
            versions: one a learner, not older than its last `HISTORY`; those may yet come.
        """
        held = self._learners + np.flatnonzero(self._is_held)
        self._coefficients[held] = 0.0
        self._is_held[:], self._kept[:] = False, -1
        for learner, version in enumerate(versions):
            self._kept[learner] = version
            if self._versions[learner, version % self._history] == version:
                self._keep(learner, self._row(learner, version, learner))

    def mix(self, learner: int, messages: Sequence[tuple[int, int]]) -> None:
        """A learner replaces its parameters by the mean of itself and (sender, version) messages.

        Raises:
            UntrackedError: when one of them is forgotten.
        """
        rows = [learner, *(self._row(sender, version, learner) for sender, version in messages)]
        now = self._coefficients[:, : self._count]
        now[learner] = now[rows].mean(axis=0)

    def adopt(self, learner: int, message: tuple[int, int] | None) -> None:
        """A learner begins, or again, with what (sender, version) was, or with what all began with.

        Raises:
            UntrackedError: when that is not known any more.
        """
        now = self._coefficients[:, : self._count]
        if message is not None:
            now[learner] = now[self._row(*message, learner)]
        elif self._begins_equal and self._is_member[learner]:
            now[learner] = 0.0
        else:
            raise UntrackedError(f"where learner {learner} began is not known any more")
        self._is_member[learner] = True

    def leave(self, learner: int) -> None:
        """Nobody mixes what a learner has sent, unless it joins again by `adopt`."""
        sent = 2 * self._learners + learner * self._history + np.arange(self._history)
        # Rows that are not in use are zero, and those that never were take no memory.
        self._coefficients[[learner, self._learners + learner, *sent]] = 0.0
        self._is_member[learner] = False
        self._is_held[learner] = False
        self._versions[learner] = self._kept[learner] = -1

    def bounds(self, versions: Sequence[int]) -> Bounds:
        """Of what the learners have sent as these versions, one a learner.

        Raises:
            UntrackedError: when one of them was not kept and is forgotten.
        """
        rows = [self._kept_row(i, version) for i, version in enumerate(versions)]
        sent, norms = self._coefficients[rows, : self._count], self._norms[: self._count]
        centred = sent - sent.mean(axis=0)
        span = max(
            (float((np.abs(sent[i:] - sent[i - 1]) @ norms).max()) for i in range(1, len(rows))),
            default=0.0,
        )
        return Bounds(
            span=span + self._forgotten,
            rms=_rms(np.abs(centred) @ norms) + self._forgotten,
            rms_independent=float(np.sqrt(np.mean(centred**2 @ norms**2))),
            largest_update=float(norms.max(initial=0.0)),
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that `bounds` is computed from, for whoever has to find out why it is wrong.

        `coefficients` [n * (2 + H), E]: row i is learner i now, row n + i what is kept of it, row
        2n + i * H + version % H what it sent; `norms` [E]; `versions` [n, H].
        """
        return {
            "coefficients": self._coefficients[:, : self._count].copy(),
            "norms": self._norms[: self._count].copy(),
            "versions": self._versions.copy(),
        }

    @property
    def _history(self) -> int:
        return self._versions.shape[1]

    def _row(self, sender: int, version: int, receiver: int) -> int:
        if self._versions[sender, version % self._history] != version:
            raise UntrackedError(
                f"edge {sender} → {receiver}: version {version} is not among the last "
                f"{self._history} that learner {sender} sent"
            )
        return 2 * self._learners + sender * self._history + version % self._history

    def _kept_row(self, learner: int, version: int) -> int:
        if self._is_held[learner] and self._kept[learner] == version:
            return self._learners + learner
        return self._row(learner, version, learner)

    def _keep(self, learner: int, row: int) -> None:
        self._coefficients[self._learners + learner] = self._coefficients[row]
        self._is_held[learner] = True

    def _open(self, learner: int, version: int) -> int:
        self._versions[learner, version % self._history] = version
        return self._row(learner, version, learner)

    def _live_rows(self) -> NDArray[np.int64]:
        kept = self._learners + np.flatnonzero(self._is_held)
        sent = 2 * self._learners + np.flatnonzero(self._versions.ravel() >= 0)
        return np.concatenate([np.flatnonzero(self._is_member), kept, sent])

    def _new_column(self, norm: float) -> int:
        if self._count == len(self._norms):
            self._make_room()
        self._norms[self._count] = norm
        self._count += 1
        return self._count - 1

    def _make_room(self) -> None:
        rows = self._live_rows()
        live = self._coefficients[rows]
        spread = live.max(axis=0) - live.min(axis=0)
        kept = spread > _FORGOTTEN
        self._forgotten += float(spread[~kept] @ self._norms[~kept])
        count = int(kept.sum())
        capacity = len(self._norms)
        if 2 * count > capacity == self._largest_capacity:
            self._sum_up(rows, float(spread @ self._norms))
            return
        if 2 * count > capacity:
            capacity = min(2 * capacity, self._largest_capacity)
        coefficients = np.zeros((len(self._coefficients), capacity))
        norms = np.zeros(capacity)
        coefficients[rows, :count] = live[:, kept]
        norms[:count] = self._norms[kept]
        self._coefficients, self._norms, self._count = coefficients, norms, count

    def _sum_up(self, rows: NDArray[np.int64], span: float) -> None:
        """Begin anew from all live vectors, of which no two are further apart than `span`.

        Later differences have coefficients that sum to zero over them, so that each counts with
        half of that distance.
        """
        self._coefficients[rows] = 0.0
        self._coefficients[rows, np.arange(len(rows))] = 1.0
        self._norms[:] = 0.0
        self._norms[: len(rows)] = (span + self._forgotten) / 2
        self._count, self._forgotten = len(rows), 0.0
        self._begins_equal = False


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
