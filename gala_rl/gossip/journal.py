"""Journal: what each learner did to its parameters, for whoever watches; no locks, no waiting.

One ring of entries a learner, in memory that its process shares with the watcher. The learner
writes an update down before it sends it, and a mix after it is made. So whatever anybody can have
mixed is written down already, whichever process is killed at whatever moment.
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
"""Of a learner's entries."""
_FEWEST_ENTRIES = 256
_FIELDS, _TIME = 5, 3
"""Kind, version, norm, time and number of messages; (sender, version) of each follow."""
NOBODY = -1


class Kind(enum.IntEnum):
    """What an entry tells."""

    UPDATE = 1
    MIX = 2
    ADOPT = 3


class Entry(NamedTuple):
    """One event of one learner.

    Attributes:
        time_s: monotonic clock, the same for all processes of a machine.
        learner: whose.
        kind: UPDATE: parameters moved by a step of `norm`, and are sent as `version`. MIX: they
            became the mean of themselves and `messages`. ADOPT: they became what `messages[0]`
            was, or without one what the run began with.
        version: number of updates of the learner.
        norm: Euclidean norm of the step, of an update.
        messages: (sender, version) of what was mixed or adopted.
    """

    time_s: float
    learner: int
    kind: Kind
    version: int
    norm: float
    messages: tuple[tuple[int, int], ...]


class OverrunError(RuntimeError):
    """The reader was too slow: entries were overwritten before it came."""


class Journal:
    """The rings of all learners; pass it to each process as an argument.

    Args:
        learners: number of learners.
        in_degree: most messages in a mix.
    """

    def __init__(self, learners: int, in_degree: int) -> None:
        fields = _FIELDS + 2 * in_degree + 1
        entries = max(_FEWEST_ENTRIES, RING_BYTES // (8 * fields))
        self._rings = shared_zeros((learners, entries, fields), torch.float64)
        self._written = shared_zeros((learners,), torch.int64)

    def writer(self, learner: int) -> "JournalWriter":
        """The pen of a learner; at most one live process may hold it."""
        return JournalWriter(self._rings[learner].numpy(), self._written.numpy(), learner)

    def reader(self) -> "JournalReader":
        """Reads everything from now on."""
        return JournalReader(self._rings.numpy(), self._written.numpy())


class JournalWriter:
    """Writes what one learner does."""

    def __init__(self, ring: NDArray[np.float64], written: NDArray[np.int64], learner: int) -> None:
        self._ring = ring
        self._written = written
        self._learner = learner
        # All pages are there from now on, so that memory does not seem to grow for an hour.
        ring.sum()

    def update(self, version: int, norm: float) -> None:
        """The parameters have moved by a step of that norm and are about to be sent."""
        self._append(Kind.UPDATE, version, norm, ())

    def mix(
        self, version: int, messages: Sequence[tuple[int, int]], time_s: float | None = None
    ) -> None:
        """The parameters have become the mean of themselves and these (sender, version).

        At `time_s` on the monotonic clock; default: now.
        """
        self._append(Kind.MIX, version, 0.0, messages, time_s)

    def adopt(
        self, version: int, message: tuple[int, int] | None, time_s: float | None = None
    ) -> None:
        """The parameters have become what (sender, version) was, or what the run began with.

        At `time_s` on the monotonic clock; default: now.
        """
        messages = [(NOBODY, 0) if message is None else message]
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
        # Elsewhere than on x86 a reader may see the count before the entry: the sum tells.
        entry[-1:] = _checksum(entry[None, :-1])
        self._written[self._learner] = count + 1


class JournalReader:
    """Reads what all learners have written since it looked last."""

    def __init__(self, rings: NDArray[np.float64], written: NDArray[np.int64]) -> None:
        self._rings = rings
        self._written = written
        self._read = written.copy()

    def new_entries(self) -> list[Entry]:
        """All entries up to now not returned before, of all learners, in the order of their times.

        An update is always returned before its mixes: rings are read one after the other, while
        learners go on, so what is newer than the first look at them waits for the next call.

        Raises:
            OverrunError: when some were overwritten; what follows has a gap then.
        """
        now = time.monotonic()
        # Most of a thousand rings may belong to learners that never join.
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
        # Of zeros, where nothing has been written yet, the sum is zero as well.
        whole &= rows[:, 0] != 0
        whole &= rows[:, _TIME] <= until_s
        count = len(rows) if whole.all() else int(whole.argmin())
        self._read[learner] = first + count
        found: NDArray[np.float64] = rows[:count]
        return found


def _checksum(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the bit patterns of each row, exact whatever the order of summation."""
    sums: NDArray[np.int64] = rows.view(np.int64).sum(axis=1)
    return sums.view(np.float64)


def _entry(learner: int, row: NDArray[np.float64]) -> Entry:
    kind, version, norm, time_s, count = row[:_FIELDS].tolist()
    pairs = row[_FIELDS : _FIELDS + 2 * int(count)].astype(int).tolist()
    messages = tuple(zip(pairs[::2], pairs[1::2], strict=True))
    if kind == Kind.ADOPT and messages[0][0] == NOBODY:
        messages = ()
    return Entry(time_s, learner, Kind(int(kind)), int(version), norm, messages)
