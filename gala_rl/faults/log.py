"""The file of faults that have happened: a row when a fault begins, another when it ends."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from gala_rl.decode import Count, fits
from gala_rl.faults.clock import FaultClock
from gala_rl.faults.plan import Fault
from gala_rl.records.metrics import MetricsReader, MetricsWriter, Row

BEGIN: Literal["begin"] = "begin"
END: Literal["end"] = "end"


class _FaultRow(TypedDict):
    fault: Count
    kind: str
    phase: Literal["begin", "end"]
    updates: Count
    learner: NotRequired[Count]
    node: NotRequired[Count]
    messages: NotRequired[Count]


class FaultLog:
    """Writes the rows of one learner, or node; all of them append to the same file.

    A fault that has a row already, from before the learner was killed or resumed, is not repeated.

    Args:
        path: path of the file.
        index: rank of the learner, or index of the node.
        owner: what the index is of.

    Attributes:
        begun: indices of faults that have begun.
        ended: indices of faults that have ended.
    """

    def __init__(
        self, path: Path, index: int, owner: Literal["learner", "node"] = "learner"
    ) -> None:
        rows = [row for row in _fault_rows(MetricsReader(path)) if row.get(owner) == index]
        self.begun = {row["fault"] for row in rows if row["phase"] == BEGIN}
        self.ended = {row["fault"] for row in rows if row["phase"] == END}
        self._owner = {owner: index}
        self._path = path
        self._writer = MetricsWriter(path)

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self._path.stat().st_size

    def record_begin(self, fault: Fault, counters: Mapping[str, int]) -> Row:
        """Write that a fault begins, before it does: the learner may not live to write it after.

        Returns:
            The row.

        Raises:
            StorageError: when it cannot be written.
        """
        self.begun.add(fault.index)
        return self._write(fault, BEGIN, counters)

    def record_end(self, fault: Fault, counters: Mapping[str, int]) -> None:
        """Write that a fault has ended.

        Raises:
            StorageError: when it cannot be written.
        """
        self.ended.add(fault.index)
        self._write(fault, END, counters)

    def _write(self, fault: Fault, phase: str, counters: Mapping[str, int]) -> Row:
        row: Row = {"time": round(time.time(), 3), "fault": fault.index, "kind": fault.kind}
        row |= self._owner | {"phase": phase} | dict(counters)
        self._writer.write(row)
        return row

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class FaultMonitor:
    """The supervisor's part in a fault plan: continues stopped learners, reports what happened.

    Args:
        clock: clock of the run.
        path: path of the file of faults; rows that it has already are not reported.

    Attributes:
        clock: as given.
    """

    def __init__(self, clock: FaultClock, path: Path) -> None:
        self.clock, self._reader = clock, MetricsReader(path)
        self._reader.new_rows()

    def continue_stopped(self, process_ids: Iterable[tuple[int, int]]) -> None:
        """Continue the learners, given as (rank, process id), whose stop is over."""
        for rank, pid in process_ids:
            if self.clock.is_stop_over(rank):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def take_notices(self) -> list[str]:
        """Return what has happened since the last call, a line per row."""
        return [notice(row) for row in _fault_rows(self._reader)]


def _fault_rows(reader: MetricsReader) -> list[Row]:
    """Return the new rows that a learner, or the driver for a node, can have written."""
    return [
        row
        for row in reader.new_rows()
        if fits(_FaultRow, row) and ("learner" in row or "node" in row)
    ]


def notice(row: Mapping[str, Any]) -> str:
    """Return a row as a line of text."""
    ends = " is over" if row["phase"] == END else ""
    messages = f", {row['messages']:,} messages" if "messages" in row else ""
    affected = f"learner {row['learner']}" if "learner" in row else f"node {row['node']}"
    return (
        f"fault {row['fault']}: {row['kind']}{ends}, {affected} after {row['updates']:,} "
        f"updates{messages}"
    )
