"""Store through which the replicas of one round exchange addresses: a file per key."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import torch.distributed

_POLL_INTERVAL_S = 0.002


class RendezvousStore(torch.distributed.Store):  # type: ignore[name-defined,misc]
    """A `torch.distributed` store without a server; folder permissions control access.

    Args:
        folder: folder of the round, made if missing; files from other machines may be added to it.
        deadline_s: longest wait for a value, seconds.
        is_over: returns whether the round is over, so that waiting is useless.
    """

    def __init__(self, folder: Path, deadline_s: float, is_over: Callable[[], bool]) -> None:
        super().__init__()
        self._folder, self._deadline_s, self._is_over = folder, deadline_s, is_over
        folder.mkdir(exist_ok=True)

    def set(self, key: str, value: bytes) -> None:
        """Publish a value."""
        publish_address(self._folder, quote(key, safe=""), value)

    def get(self, key: str) -> bytes:
        """Wait for a value and return it; raises as `wait`."""
        self.wait([key])
        return self._path(key).read_bytes()

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all these keys have values.

        Raises:
            TimeoutError: when one is not published in time, or the round is over.
        """
        give_up = time.monotonic() + self._deadline_s
        while not all(self._path(key).is_file() for key in keys):
            if self._is_over() or time.monotonic() > give_up:
                raise TimeoutError(f"one of {keys} has not been published")
            time.sleep(_POLL_INTERVAL_S)

    def _path(self, key: str) -> Path:
        return self._folder / quote(key, safe="")


def publish_address(folder: Path, name: str, content: bytes) -> None:
    """Write a file into the folder of a round, atomically."""
    folder.mkdir(exist_ok=True)
    unfinished = folder / f".{name}"
    unfinished.write_bytes(content)
    unfinished.replace(folder / name)


def published_addresses(folder: Path) -> dict[str, bytes]:
    """Return the files in the folder of a round, by name; none if there is no such folder."""
    if not folder.is_dir():
        return {}
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}
