"""Reads and atomically replaces files: after a crash, the old or the new content is complete."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gala_rl.errors import StorageError, UserError

_MAX_JSON_BYTES = 1 << 24

REPLACEMENT = "-new"
"""Suffix of a checkpoint that replaces another one, while both exist."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        UserError: when the file cannot be read or holds no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"more than {_MAX_JSON_BYTES:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Atomically replace a file by one that holds a JSON object.

    Raises:
        StorageError: when it cannot be written; the old file stays.
    """
    replace_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Atomically replace the content of a file.

    Raises:
        StorageError: when it cannot be written; the old file stays.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror})") from error


def put_in_place(folder: Path, final: Path) -> None:
    """Rename a folder; an existing one of that name is removed once this one is on disk."""
    if final.exists():
        folder.rename(_replacement(final))
        flush_to_disk(final.parent)
        finish_replacing(final)
    else:
        folder.rename(final)
    flush_to_disk(final.parent)


def finish_replacing(final: Path) -> None:
    """Finish a `put_in_place` that a crash has interrupted."""
    if _replacement(final).exists():
        shutil.rmtree(final, ignore_errors=True)
        _replacement(final).rename(final)


def _replacement(final: Path) -> Path:
    return final.with_name(final.name + REPLACEMENT)


def flush_to_disk(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_plain(file: Path) -> None:
    """Raise a ValueError for a link, a pipe or a device: it may leave the folder or never end."""
    if not stat.S_ISREG(file.lstat().st_mode):
        raise ValueError(f"{file.name} is not a plain file")


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Raise a StorageError where the folder of a checkpoint cannot be written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"checkpoint {folder} cannot be written ({reason})") from error
