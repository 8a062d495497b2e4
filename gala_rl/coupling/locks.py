"""Locks between processes, which the kernel releases when the process that holds them dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gala_rl.processes.heartbeat import beat

_POLL_INTERVAL_S = 0.0002


class FileLocks:
    """Any number of numbered locks: POSIX record locks on single bytes of one file.

    Nothing is ever written to the file. A process may create only one `FileLocks` per file: closing
    one would release the locks of the other, since POSIX record locks belong to the process.

    Args:
        path: path of the file; made if missing.
        deadline_s: longest wait for a lock, seconds.
    """

    def __init__(self, path: Path, deadline_s: float) -> None:
        self._path = path
        self._deadline_s = deadline_s
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    @contextmanager
    def acquire(self, number: int) -> Iterator[None]:
        """Hold one of the locks.

        Raises:
            TimeoutError: when another process has held it for longer than the deadline.
        """
        self._acquire(number)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)

    def _acquire(self, number: int) -> None:
        give_up = time.monotonic() + self._deadline_s
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                return
            except (BlockingIOError, PermissionError):
                # Both mean that another process holds it.
                if time.monotonic() > give_up:
                    raise TimeoutError(
                        f"another process has held lock {number} of {self._path} for "
                        f"{self._deadline_s:g} s"
                    ) from None
                time.sleep(_POLL_INTERVAL_S)
                beat()

    def close(self) -> None:
        """Release all locks that this process holds."""
        os.close(self._file)
