"""The supervisor's part in a plan of faults: continues who is stopped, tells what has happened."""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from gala_rl.faults.clock import FaultClock
from gala_rl.faults.log import notice, read_rows
from gala_rl.records.metrics import MetricsReader


class FaultMonitor:
    """Follows the file in which learners write faults down.

    Args:
        clock: of the run.
        path: of the file; what is in it already has been told.

    Attributes:
        clock: as given.
    """

    def __init__(self, clock: FaultClock, path: Path) -> None:
        self.clock, self._reader = clock, MetricsReader(path)
        self._reader.new_rows()

    def wake(self, process_ids: Iterable[tuple[int, int]]) -> None:
        """Continue learners, given with their ranks, that have been stopped for long enough."""
        for rank, pid in process_ids:
            if self.clock.is_to_continue(rank):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def take_notices(self) -> list[str]:
        """What has happened since the last call, a line each."""
        return [notice(row) for row in read_rows(self._reader)]
