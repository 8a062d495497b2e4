"""What has happened of a plan: a row when a fault comes, another when it is over."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from gala_rl.faults.plan import Fault
from gala_rl.records.metrics import MetricsReader, MetricsWriter
from gala_rl.records.plausible import is_count

BEGIN, END = "begin", "end"
"""What a row tells."""


class FaultLog:
    """One learner's, or node's, rows in the run's file of faults; all append to it side by side.

    What is in it already, written before this learner was killed or resumed, is not done again.

    Args:
        path: of the file.
        whose: rank of the learner, or index of the node.
        of: which of both.

    Attributes:
        begun: indices of faults that have come.
        ended: indices of those that are over.
    """

    def __init__(self, path: Path, whose: int, of: Literal["learner", "node"] = "learner") -> None:
        rows = [row for row in read_rows(MetricsReader(path)) if row.get(of) == whose]
        self.begun = {row["fault"] for row in rows if row["phase"] == BEGIN}
        self.ended = {row["fault"] for row in rows if row["phase"] == END}
        self._who = {of: whose}
        self._path = path
        self._writer = MetricsWriter(path)

    @property
    def size(self) -> int:
        """Of the file, bytes."""
        return self._path.stat().st_size

    def begin(self, fault: Fault, counters: Mapping[str, int]) -> dict[str, Any]:
        """A fault comes; said before it happens, since the learner may not live to say it after.

        Returns:
            The row.

        Raises:
            StorageError: when it cannot be written.
        """
        self.begun.add(fault.index)
        return self._write(fault, BEGIN, counters)

    def end(self, fault: Fault, counters: Mapping[str, int]) -> None:
        """A fault is over.

        Raises:
            StorageError: when it cannot be written.
        """
        self.ended.add(fault.index)
        self._write(fault, END, counters)

    def _write(self, fault: Fault, phase: str, counters: Mapping[str, int]) -> dict[str, Any]:
        row: dict[str, Any] = {
            "time": round(time.time(), 3),
            "fault": fault.index,
            "kind": fault.kind,
        }
        row |= self._who | {"phase": phase} | dict(counters)
        self._writer.write(row)
        return row

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def read_rows(reader: MetricsReader) -> list[dict[str, Any]]:
    """New rows that a learner, or a driver for one of its nodes, can have written."""
    return [
        row
        for row in reader.new_rows()
        if all(is_count(row.get(name)) for name in ("fault", "updates"))
        and is_count(row.get("learner", row.get("node")))
        and is_count(row.get("messages", 0))
        and isinstance(row.get("kind"), str)
        and row.get("phase") in (BEGIN, END)
    ]


def notice(row: Mapping[str, Any]) -> str:
    """A row in words."""
    ends = " is over" if row["phase"] == END else ""
    messages = f", {row['messages']:,} messages" if "messages" in row else ""
    who = f"learner {row['learner']}" if "learner" in row else f"node {row['node']}"
    return (
        f"fault {row['fault']}: {row['kind']}{ends}, {who} after {row['updates']:,} "
        f"updates{messages}"
    )
