"""Fault log: a file with a row when a fault begins, and another when it ends."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from gala_rl.decode import Count, fits
from gala_rl.faults.plan import Fault
from gala_rl.records.metrics import MetricsReader, MetricsWriter, Row

if TYPE_CHECKING:  # It imports torch, which readers of the log do not need.
    from gala_rl.faults.clock import FaultClock

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
    """Appends the rows of one learner or node to the log, a file that all of them share.

    A fault with a row, from before the learner was killed or resumed, is not repeated.

    Args:
        path: path of the file.
        index: rank of the learner, or index of the node.
        owner: whether `index` is of a learner or a node.

    Attributes:
        begun: indices of faults that have begun.
        ended: indices of faults that have ended.
    """

    def __init__(
        self, path: Path, index: int, owner: Literal["learner", "node"] = "learner"
    ) -> None:
        every = fault_rows(MetricsReader(path).new_rows())
        rows = [row for row in every if row.get(owner) == index]
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
        """Write that a fault begins, before it does, since it may kill the learner.

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
    """Continues stopped learners and reports faults, on behalf of the supervisor.

    Args:
        clock: clock of the run.
        path: path of the fault log; rows that exist now are not reported.

    Attributes:
        clock: as given.
    """

    def __init__(self, clock: "FaultClock", path: Path) -> None:
        self.clock, self._reader = clock, MetricsReader(path)
        self._reader.new_rows()

    def continue_stopped(self, process_ids: Iterable[tuple[int, int]]) -> None:
        """Continue learners, given as (rank, process id), whose time to be stopped is over."""
        for rank, pid in process_ids:
            if self.clock.is_stop_over(rank):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def take_notices(self) -> list[str]:
        """Return notices of new rows since the last call, one line each."""
        return [notice(row) for row in fault_rows(self._reader.new_rows())]


def fault_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the valid rows, of learners or of nodes, without damaged and foreign ones."""
    return [row for row in rows if fits(_FaultRow, row) and ("learner" in row or "node" in row)]


def notice(row: Mapping[str, Any]) -> str:
    """Return a notice of a row, one line."""
    ends = " is over" if row["phase"] == END else ""
    messages = f", {row['messages']:,} messages" if "messages" in row else ""
    affected = f"learner {row['learner']}" if "learner" in row else f"node {row['node']}"
    return (
        f"fault {row['fault']}: {row['kind']}{ends}, {affected} after {row['updates']:,} "
        f"updates{messages}"
    )
