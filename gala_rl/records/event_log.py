"""Writes and reads the events of a run: notices, and deaths and restarts of learners."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from gala_rl.decode import Count, Number, fits
from gala_rl.records.metrics import MetricsWriter, Row


class EventRow(TypedDict):
    """A row of the file of events.

    Attributes:
        time: seconds since 1970.
        total_agent_steps: agent steps of all learners at that time.
        notices: what has happened, one line each, as the terminal shows it.
        alive: whether the learner's process is alive, per member.
        restarts: restarts since the run was started or resumed, per present or former member.
    """

    time: Number
    total_agent_steps: Count
    notices: list[str]
    alive: list[bool]
    restarts: list[Count]


class EventLog:
    """Appends a row at the start, with each notice, and when a learner dies, joins or leaves.

    Args:
        path: path of the file, which is created with the first row.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: MetricsWriter | None = None
        self._last: tuple[list[bool], list[int]] | None = None

    def record(
        self,
        total_agent_steps: int,
        notices: Sequence[str],
        alive: Sequence[bool],
        restarts: Sequence[int],
    ) -> None:
        """Append a row if anything has happened since the last call; see `EventRow`.

        Raises:
            StorageError: when it cannot be written.
        """
        state = list(alive), list(restarts)
        if not notices and state == self._last:
            return
        self._last = state
        row: EventRow = {
            "time": round(time.time(), 3),
            "total_agent_steps": total_agent_steps,
            "notices": list(notices),
            "alive": state[0],
            "restarts": state[1],
        }
        self._writer = self._writer or MetricsWriter(self._path)
        self._writer.write({**row})

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def event_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the valid rows of events, without damaged and foreign ones."""
    return [row for row in rows if fits(EventRow, row)]
