"""Realised bound: the largest distances that the updates and mixes of a run permit.

Every parameter vector in a run is the initial one plus a sum of coefficient x update over all
updates of all learners. An update adds a coefficient of one; a mix averages coefficients as it
averages parameters. So coefficients are known without the vectors, and by the triangle inequality

    ‖x_a - x_b‖ ≤ Σ_e |c_ae - c_be| ‖u_e‖

for any order, delay or loss of messages, and for any number of learners that die and return. This
is the bound of the GALA paper's Proposition 1 with the mixing matrices that were actually applied
instead of a power of β, for each pair of learners (Assran et al. 2019; for products of
row-stochastic matrices and their contraction see Dobrushin 1956). If updates are independent of one
another, the mean square distance is Σ_e (c_ae - c_be)² ‖u_e‖².
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HISTORY = 8
"""Least number of versions per learner that are remembered, so that they can be mixed or kept."""
LONGEST_HISTORY, _MESSAGES = 64, 256
"""Number of versions with few learners, whose matrices are small: events may then come later."""
_FIRST_CAPACITY, _LARGEST_CAPACITY = 256, 16_384
_FORGOTTEN = 1e-12
"""An update is forgotten once no two learners differ by more than this share of it."""


class Bounds(NamedTuple):
    """Bounds on the distances between learners.

    Attributes:
        span: upper bound of the largest distance between two learners.
        rms: upper bound of the root mean square distance from their mean.
        distances: upper bound of each learner's distance from their mean.
        rms_independent: the rms distance if updates are independent of one another.
        largest_update: norm of the largest update that is not forgotten.
    """

    span: float
    rms: float
    distances: list[float]
    rms_independent: float
    largest_update: float


class UntrackedError(LookupError):
    """The coefficients of a message or of initial parameters are no longer known."""


class Realised:
    """Coefficients of all updates in all learners' parameters; report events as they happen.

    Updates whose coefficients are equal in all learners are forgotten. If too many remain, all of
    them are replaced by one distance, as in a product of contractions.

    Args:
        learners: largest number of learners.
        capacity: largest number of updates that are tracked individually.
        members: number of learners, the first ones, that begin with equal parameters; default: all.
            Others join by `adopt`.
    """

    def __init__(
        self, learners: int, capacity: int = _LARGEST_CAPACITY, members: int | None = None
    ) -> None:
        # Row i: learner i now. Row n + i: its kept version. Row 2n + i * H + version % H: a version
        # that it sent, of the last H.
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

    def set_distance(self, learner: int, distance: float) -> None:
        """Report that a learner begins at a distance from a point common to all learners."""
        column = self._new_column(distance)
        self._coefficients[learner, :] = 0.0
        self._coefficients[learner, column] = 1.0
        self._begins_equal = False

    def set_sent_distance(self, learner: int, version: int, distance: float) -> None:
        """Report a message in flight when the run was resumed, at a distance from that point."""
        column = self._new_column(distance)
        row = self._open(learner, version)
        self._coefficients[row, :] = 0.0
        self._coefficients[row, column] = 1.0

    def update(self, learner: int, version: int, norm: float) -> None:
        """Report that a learner added an update of this norm and sends its parameters."""
        column, row = self._new_column(norm), self._open(learner, version)
        self._coefficients[learner, column] = 1.0
        self._coefficients[row, : self._count] = self._coefficients[learner, : self._count]
        if self._kept[learner] == version:
            self._keep(learner, row)

    def retain_versions(self, versions: Sequence[int]) -> None:
        """Keep these sent versions for `bounds`, instead of those kept before.

        A monitor copies messages first and reports the events before and after them later, when
        these versions would otherwise be forgotten.

        Args:
            versions: one per learner, among its last `HISTORY` or still to be reported.
        """
        held = self._learners + np.flatnonzero(self._is_held)
        self._coefficients[held] = 0.0
        self._is_held[:], self._kept[:] = False, -1
        for learner, version in enumerate(versions):
            self._kept[learner] = version
            if self._versions[learner, version % self._history] == version:
                self._keep(learner, self._row(learner, version, learner))

    def mix(self, learner: int, messages: Sequence[tuple[int, int]]) -> None:
        """Report that a learner mixed its parameters with (sender, version) messages.

        Raises:
            UntrackedError: when a message is forgotten.
        """
        rows = [learner, *(self._row(sender, version, learner) for sender, version in messages)]
        now = self._coefficients[:, : self._count]
        now[learner] = now[rows].mean(axis=0)

    def adopt(self, learner: int, message: tuple[int, int] | None) -> None:
        """Report that a learner took over the parameters of a message, or the initial ones.

        Raises:
            UntrackedError: when those are no longer known.
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
        """Report that a learner left: its messages are not mixed until it joins by `adopt`."""
        sent = 2 * self._learners + learner * self._history + np.arange(self._history)
        # Unused rows are zero; rows that were never used take no memory.
        self._coefficients[[learner, self._learners + learner, *sent]] = 0.0
        self._is_member[learner] = False
        self._is_held[learner] = False
        self._versions[learner] = self._kept[learner] = -1

    def bounds(self, versions: Sequence[int]) -> Bounds:
        """Return bounds for the parameters that learners sent as these versions, one per learner.

        Raises:
            UntrackedError: when a version was not kept and is forgotten.
        """
        rows = [self._kept_row(i, version) for i, version in enumerate(versions)]
        sent, norms = self._coefficients[rows, : self._count], self._norms[: self._count]
        centred = sent - sent.mean(axis=0)
        span = max(
            (float((np.abs(sent[i:] - sent[i - 1]) @ norms).max()) for i in range(1, len(rows))),
            default=0.0,
        )
        distances = np.abs(centred) @ norms
        return Bounds(
            span=span + self._forgotten,
            rms=_rms(distances) + self._forgotten,
            distances=(distances + self._forgotten).tolist(),
            rms_independent=float(np.sqrt(np.mean(centred**2 @ norms**2))),
            largest_update=float(norms.max(initial=0.0)),
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return all data that `bounds` is computed from, to investigate a violated bound.

        `coefficients` [n * (2 + H), E]: row i is learner i now, row n + i its kept version, row
        2n + i * H + version % H a sent version; `norms` [E]; `versions` [n, H].
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
        """Replace all updates by a unit per live vector; no two vectors differ by more than `span`.

        Coefficients of later differences sum to zero over these units, so each unit counts with
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
