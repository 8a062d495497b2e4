"""Lock-free journal of updates and mixes per learner, read by the process that monitors a run.

Each learner has a ring buffer in shared memory. It records an update before it sends the
parameters, and a mix after it is made. So every version that another learner can have mixed is in
the journal, whichever process is killed at whatever moment.
"""

import enum
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gala_rl.gossip.transports.shared import shared_zeros

RING_BYTES = 1 << 20
"""Size of a learner's ring buffer."""
_MIN_ENTRIES = 256
_FIELDS, _TIME = 5, 3
"""Fields before the messages: kind, version, norm, time, number of messages."""
_NO_SENDER = -1


class Kind(enum.IntEnum):
    """Kind of an entry."""

    UPDATE = 1
    MIX = 2
    ADOPT = 3


class Entry(NamedTuple):
    """One event of one learner.

    Attributes:
        time_s: monotonic clock, the same for all processes of a machine.
        learner: rank.
        kind: UPDATE: parameters moved by a step of `norm` and are sent as `version`. MIX: they
            became the mean of themselves and `messages`. ADOPT: they became those of `messages[0]`
            or, without a message, those that the run began with.
        version: number of updates of the learner.
        norm: Euclidean norm of the step of an update; else 0.
        messages: (sender, version) of the messages that were mixed or adopted.
    """

    time_s: float
    learner: int
    kind: Kind
    version: int
    norm: float
    messages: tuple[tuple[int, int], ...]


class OverrunError(RuntimeError):
    """Entries were overwritten before the reader read them."""


class Journal:
    """Ring buffers of all learners; pass it to each process as an argument.

    Args:
        learners: number of learners.
        in_degree: largest number of messages in a mix.
    """

    def __init__(self, learners: int, in_degree: int) -> None:
        fields = _FIELDS + 2 * in_degree + 1
        entries = max(_MIN_ENTRIES, RING_BYTES // (8 * fields))
        self._rings = shared_zeros((learners, entries, fields), torch.float64)
        self._written = shared_zeros((learners,), torch.int64)

    def writer(self, learner: int) -> "JournalWriter":
        """Return the writer of a learner; at most one live process may use it."""
        return JournalWriter(self._rings[learner].numpy(), self._written.numpy(), learner)

    def reader(self) -> "JournalReader":
        """Return a reader of all entries that are written from now on."""
        return JournalReader(self._rings.numpy(), self._written.numpy())


class JournalWriter:
    """Record the updates and mixes of one learner."""

    def __init__(self, ring: NDArray[np.float64], written: NDArray[np.int64], learner: int) -> None:
        self._ring = ring
        self._written = written
        self._learner = learner
        # Map all pages now, so that memory does not seem to grow for an hour.
        ring.sum()

    def update(self, version: int, norm: float) -> None:
        """Record an update by a step of this norm; call it before the parameters are sent."""
        self._append(Kind.UPDATE, version, norm, ())

    def mix(
        self, version: int, messages: Sequence[tuple[int, int]], time_s: float | None = None
    ) -> None:
        """Record a mix with the messages (sender, version), at monotonic time `time_s` or now."""
        self._append(Kind.MIX, version, 0.0, messages, time_s)

    def adopt(
        self, version: int, message: tuple[int, int] | None, time_s: float | None = None
    ) -> None:
        """Record that parameters became those of a message, or those that the run began with."""
        messages = [(_NO_SENDER, 0) if message is None else message]
        self._append(Kind.ADOPT, version, 0.0, messages, time_s)

    def _append(
        self,
        kind: Kind,
        version: int,
        norm: float,
        messages: Sequence[tuple[int, int]],
        time_s: float | None = None,
    ) -> None:
        time_s = time.monotonic() if time_s is None else time_s
        count = int(self._written[self._learner])
        entry = self._ring[count % len(self._ring)]
        entry[:_FIELDS] = kind, version, norm, time_s, len(messages)
        if messages:
            entry[_FIELDS : _FIELDS + 2 * len(messages)] = np.ravel(messages)
        # On processors other than x86 a reader may see the count before the entry; the checksum
        # reveals it.
        entry[-1:] = _checksum(entry[None, :-1])
        self._written[self._learner] = count + 1


class JournalReader:
    """Reads the entries that all learners have written since the last call."""

    def __init__(self, rings: NDArray[np.float64], written: NDArray[np.int64]) -> None:
        self._rings = rings
        self._written = written
        self._read = written.copy()

    def new_entries(self) -> list[Entry]:
        """Return the new entries of all learners, ordered by time.

        An update is always returned before the mixes that use it: rings are read one after the
        other while learners go on, so entries newer than the start of this call wait for the next.

        Raises:
            OverrunError: when entries were overwritten; later calls continue after the gap.
        """
        now = time.monotonic()
        # Read only rings that have grown: most may belong to learners that never join.
        entries = [
            _entry(learner, row)
            for learner in np.flatnonzero(self._written > self._read).tolist()
            for row in self._new_rows(learner, now)
        ]
        return sorted(entries)

    def _new_rows(self, learner: int, until_s: float) -> NDArray[np.float64]:
        ring, first = self._rings[learner], int(self._read[learner])
        new = min(max(0, int(self._written[learner]) - first), len(ring))
        rows = ring[(first % len(ring) + np.arange(new)) % len(ring)]
        if int(self._written[learner]) - first >= len(ring):
            self._read[learner] = int(self._written[learner])
            raise OverrunError(f"learner {learner} wrote {len(ring)} entries since the last look")
        whole = _checksum(rows[:, :-1]).view(np.int64) == rows[:, -1].view(np.int64)
        # The checksum of an unwritten entry, all zeros, is zero as well.
        whole &= rows[:, 0] != 0
        whole &= rows[:, _TIME] <= until_s
        count = len(rows) if whole.all() else int(whole.argmin())
        self._read[learner] = first + count
        found: NDArray[np.float64] = rows[:count]
        return found


def _checksum(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the bit patterns of each row, exact in any order of summation."""
    sums: NDArray[np.int64] = rows.view(np.int64).sum(axis=1)
    return sums.view(np.float64)


def _entry(learner: int, row: NDArray[np.float64]) -> Entry:
    kind, version, norm, time_s, count = row[:_FIELDS].tolist()
    pairs = row[_FIELDS : _FIELDS + 2 * int(count)].astype(int).tolist()
    messages = tuple(zip(pairs[::2], pairs[1::2], strict=True))
    if kind == Kind.ADOPT and messages[0][0] == _NO_SENDER:
        messages = ()
    return Entry(time_s, learner, Kind(int(kind)), int(version), norm, messages)
