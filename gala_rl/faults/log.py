"""What has happened of a plan: a row when a fault comes, another when it is over."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gala_rl.faults.plan import Fault
from gala_rl.records.metrics import MetricsReader, MetricsWriter
from gala_rl.records.plausible import is_count

BEGIN, END = "begin", "end"
"""What a row tells."""


class FaultLog:
    """One learner's rows in the run's file of faults, which learners append to side by side.

    What is in it already, written before this learner was killed or resumed, is not done again.

    Args:
        path: of the file.
        learner: rank.

    Attributes:
        begun: indices of faults that have come.
        ended: indices of those that are over.
    """

    def __init__(self, path: Path, learner: int) -> None:
        rows = [row for row in told(MetricsReader(path)) if row["learner"] == learner]
        self.begun = {row["fault"] for row in rows if row["phase"] == BEGIN}
        self.ended = {row["fault"] for row in rows if row["phase"] == END}
        self._learner = learner
        self._writer = MetricsWriter(path)

    def begin(self, fault: Fault, counters: Mapping[str, int]) -> None:
        """A fault comes; said before it happens, since the learner may not live to say it after.

        Raises:
            StorageError: when it cannot be written.
        """
        self.begun.add(fault.index)
        self._write(fault, BEGIN, counters)

    def end(self, fault: Fault, counters: Mapping[str, int]) -> None:
        """A fault is over.

        Raises:
            StorageError: when it cannot be written.
        """
        self.ended.add(fault.index)
        self._write(fault, END, counters)

    def _write(self, fault: Fault, phase: str, counters: Mapping[str, int]) -> None:
        row = {"time": round(time.time(), 3), "fault": fault.index, "kind": fault.kind}
        self._writer.write(row | {"learner": self._learner, "phase": phase} | dict(counters))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def told(reader: MetricsReader) -> list[dict[str, Any]]:
    """New rows that a learner can have written."""
    return [
        row
        for row in reader.new_rows()
        if all(is_count(row.get(name)) for name in ("fault", "learner", "updates"))
        and is_count(row.get("messages", 0))
        and isinstance(row.get("kind"), str)
        and row.get("phase") in (BEGIN, END)
    ]


def notice(row: Mapping[str, Any]) -> str:
    """A row in words."""
    ends = " is over" if row["phase"] == END else ""
    messages = f", {row['messages']:,} messages" if "messages" in row else ""
    return (
        f"fault {row['fault']}: {row['kind']}{ends}, learner {row['learner']} "
        f"after {row['updates']:,} updates{messages}"
    )
