"""Writes TensorBoard event files: no thread of its own, and a row of numbers as one record."""

import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from gala_rl.sinks.sink import Scalars

_POLYNOMIAL = 0x82F63B78
"""Polynomial of CRC-32C (Castagnoli), bits reversed."""
_MAX_DISTANCE = 1 << 11
"""Bytes of which the checksum is computed at once."""


class EventFile:
    """Appends events to a new file in a folder.

    Args:
        folder: folder of the event files of a run; made if it is missing.

    Raises:
        OSError: when it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files in the order of their names.
        stamp = f"{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / f"events.out.tfevents.{stamp}").open("ab")
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def purge_from(self, step: int) -> None:
        """Make TensorBoard forget all earlier events at these steps and beyond."""
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=step, session_log=start))

    def add(self, summary: Any) -> None:
        """Append a summary that belongs to no step, such as text."""
        self._write(Event(wall_time=time.time(), summary=summary))

    def add_scalars(self, scalars: Scalars, step: int, wall_time: float) -> None:
        """Append numbers by name."""
        values = [Summary.Value(tag=name, simple_value=scalars[name]) for name in scalars]
        self._write(Event(wall_time=wall_time, step=step, summary=Summary(value=values)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Any) -> None:
        """Append a record: its length, the record, and a checksum of each; if it fails, close."""
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        try:
            self._file.write(length + _checksum(length) + data + _checksum(data))
            self._file.flush()
        except OSError:
            # What could not be written is still buffered, and fails again.
            with suppress(OSError):
                self._file.close()
            raise


def _checksum(data: bytes) -> bytes:
    """Return the masked CRC-32C of a record, as TensorFlow defines it."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes.

    It is linear: the exclusive or of what each byte alone would give at its distance from the end.
    A loop over bytes in Python, as TensorBoard has it, takes a hundred times as long.
    """
    state = 0xFFFFFFFF
    bytes_ = np.frombuffer(data, np.uint8)
    for start in range(0, len(data), _MAX_DISTANCE):
        part = bytes_[start : start + _MAX_DISTANCE].copy()
        if len(part) < 4:
            for byte in part.tolist():
                state = state >> 8 ^ int(_EFFECTS[0, (state ^ byte) & 0xFF])
            continue
        # The state so far acts like four bytes that are added to the first four.
        part[:4] ^= np.frombuffer(struct.pack("<I", state), np.uint8)
        effects = _EFFECTS[_DISTANCES[-len(part) :], part]
        state = int(np.bitwise_xor.reduce(effects))
    return state ^ 0xFFFFFFFF


def _effects() -> NDArray[np.uint32]:
    """Return the effect [distance, value] of a byte on the checksum, by its distance to the end."""
    effects = np.empty((_MAX_DISTANCE, 256), np.uint32)
    effects[0] = np.arange(256)
    for _ in range(8):
        odd = effects[0] & 1
        effects[0] = effects[0] >> 1 ^ odd * np.uint32(_POLYNOMIAL)
    for distance in range(1, _MAX_DISTANCE):
        before = effects[distance - 1]
        effects[distance] = before >> 8 ^ effects[0, before & 0xFF]
    return effects


_EFFECTS = _effects()
_DISTANCES = np.arange(_MAX_DISTANCE - 1, -1, -1)
