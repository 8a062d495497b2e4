"""Reads rows of a file of JSON lines: of a long file evenly spaced ones, then each new row."""

import json
import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gala_rl.records.metrics import Row

_TYPICAL_ROW_BYTES = 1 << 10
"""Files of fewer rows of this size than the budget are read completely."""
_LONGEST_ROW = 1 << 20
"""A longer line is not a row: it is read in parts, which are no JSON."""


class NewRows(NamedTuple):
    """Rows since the last call.

    Attributes:
        rows: in the order of the file.
        is_replaced: whether the file is another one than before, or shorter; then all earlier rows
            are obsolete.
    """

    rows: list[Row]
    is_replaced: bool


class RowFile:
    """Reads a file that another process appends to.

    Args:
        path: path of the file, which need not exist. A link or a device is not read.
        budget: number of rows, about, that are read at once. If there are more, evenly spaced ones
            are read, so that a long file takes no longer.
        tail_bytes: the rows in so many bytes at the end are all read.
    """

    def __init__(self, path: Path, budget: int, tail_bytes: int) -> None:
        self._path, self._budget, self._tail_bytes = path, budget, tail_bytes
        self._inode, self._position = -1, 0

    def new_rows(self) -> NewRows:
        """Return the rows that were appended since the last call; damaged lines are skipped."""
        try:
            status = self._path.lstat()
            if not stat.S_ISREG(status.st_mode):
                return NewRows([], False)
            is_same = status.st_ino == self._inode and status.st_size >= self._position
            if is_same and status.st_size == self._position:
                return NewRows([], False)
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                is_replaced = not is_same and self._position > 0
                self._position = self._position if is_same else 0
                self._inode = status.st_ino
                return NewRows(self._read(file, status.st_size), is_replaced)
        except OSError:
            return NewRows([], False)

    def _read(self, file: BinaryIO, end: int) -> list[Row]:
        if end - self._position <= self._budget * _TYPICAL_ROW_BYTES:
            return self._all_rows(file, end)
        tail = end - self._tail_bytes
        rows = self._spaced_rows(file, self._position, tail)
        file.seek(tail)
        file.readline(_LONGEST_ROW)
        self._position = file.tell()
        return rows + self._all_rows(file, end)

    def _all_rows(self, file: BinaryIO, end: int) -> list[Row]:
        file.seek(self._position)
        complete, newline, _ = file.read(end - self._position).rpartition(b"\n")
        self._position += len(complete) + len(newline)
        return _rows(complete.split(b"\n"))

    def _spaced_rows(self, file: BinaryIO, start: int, end: int) -> list[Row]:
        lines = []
        file.seek(start)
        for index in range(self._budget):
            offset = start + (end - start) * index // self._budget
            if offset > file.tell():
                file.seek(offset)
                file.readline(_LONGEST_ROW)
            if file.tell() < end:
                lines.append(file.readline(_LONGEST_ROW))
        return _rows(lines)


def _rows(lines: list[bytes]) -> list[Row]:
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
