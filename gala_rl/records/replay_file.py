"""Writes and reads the replays of learners, which only the newest checkpoint has, for their size.

    checkpoints/step_000000800000/learner_00.replay.safetensors

Arrays are written one after another and mapped from the file when read, so a replay is never in
memory twice. The file's SHA-256 is in the learner's counters, not in the manifest: a checkpoint
without the file is complete.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala_rl.errors import UserError
from gala_rl.processes.heartbeat import beat
from gala_rl.records.files import check_plain, storage_errors

CHECKSUM = "replay_sha256"
"""Name among the counters of a learner's part."""

_PIECE_BYTES = 1 << 24
_FLUSH_BYTES = 1 << 28
"""A single flush of gigabytes would make the learner look as if it hung."""
_TYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}
"""Types by their names in the safetensors format."""


class MappedArrays(Mapping[str, NDArray[Any]]):
    """The arrays of a safetensors file; each is mapped when it is asked for, and while it is used.

    Args:
        file: the file.

    Raises:
        ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError: when it is
            not one.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError(f"{file.name} has no header")
            header = json.loads(content.read(length))
        self._entries: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]] = {
            name: (
                _TYPES[entry["dtype"]],
                tuple(entry["shape"]),
                8 + length + entry["data_offsets"][0],
            )
            for name, entry in header.items()
        }
        for name in self:
            self[name]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return an array, read-only."""
        kind, shape, begin = self._entries[name]
        if 0 in shape:
            return np.zeros(shape, kind)
        return np.memmap(self._file, kind, "r", offset=begin, shape=shape)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self._entries)


def replay_file(folder: Path, learner: int) -> Path:
    """Return the file of a learner's replay in a checkpoint's folder."""
    return folder / f"learner_{learner:02d}.replay.safetensors"


def write_replay(folder: Path, learner: int, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write a replay into a partial folder, under a temporary name first.

    Args:
        folder: from `checkpoint.partial_folder`.
        learner: rank of the learner.
        arrays: the replay, by name; rows of their last axis are contiguous.

    Returns:
        Its SHA-256.

    Raises:
        StorageError: when it cannot be written.
    """
    final, digest, unflushed = replay_file(folder, learner), hashlib.sha256(), 0
    partial = final.with_name(f".{final.name}")
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            for piece in _pieces(arrays):
                file.write(piece)
                digest.update(piece)
                unflushed += len(piece)
                if unflushed >= _FLUSH_BYTES:
                    os.fsync(file.fileno())
                    unflushed = 0
                beat()
        partial.replace(final)
    return digest.hexdigest()


def open_replay(folder: Path, learner: int, checksum: object) -> MappedArrays:
    """Return a replay's arrays, mapped from the file, after checking the checksum.

    Args:
        folder: folder of a checkpoint.
        learner: rank of the learner.
        checksum: the counter `CHECKSUM` of its part; None: it was saved without a replay.

    Raises:
        UserError: when the file is missing or damaged.
    """
    file = replay_file(folder, learner)
    if checksum is None or not file.exists():
        raise UserError(f"checkpoint {folder} has no replay of learner {learner}")
    try:
        check_plain(file)
        if _sha256(file) != checksum:
            raise ValueError(f"{file.name} has changed")
        return MappedArrays(file)
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise UserError(f"the replay of learner {learner} is damaged: {error}") from error


def drop_replays(folder: Path) -> None:
    """Remove all replays from the folder of a checkpoint, which stays complete."""
    for file in folder.glob("learner_*.replay.safetensors"):
        file.unlink()


def replays_bytes(checkpoints: Path) -> int:
    """Return the size of all replays in the checkpoints of a run."""
    files = checkpoints.glob("step_*/learner_*.replay.safetensors")
    return sum(file.stat().st_size for file in files)


def _pieces(arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes | memoryview]:
    """Yield the content of a safetensors file."""
    names = {kind: name for name, kind in _TYPES.items()}
    header, begin = {}, 0
    for name, array in arrays.items():
        end = begin + array.nbytes
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for array in arrays.values():
        yield from _pieces_of(array)


def _pieces_of(array: NDArray[Any]) -> Iterator[memoryview]:
    if array.size == 0:
        return
    if not array.flags.c_contiguous:
        for row in array:
            yield from _pieces_of(row)
        return
    content = array.data.cast("B")
    for begin in range(0, len(content), _PIECE_BYTES):
        yield content[begin : begin + _PIECE_BYTES]


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(_PIECE_BYTES):
            digest.update(piece)
            beat()
    return digest.hexdigest()
