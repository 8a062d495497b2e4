"""Read and replace files so that a reader, or a crash, meets the old content or the new, whole."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from gala_rl.errors import StorageError, UserError

_MAX_JSON_BYTES = 1 << 24

REPLACEMENT = "-new"
"""Suffix of a checkpoint that replaces another one, as long as both exist."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        UserError: when there is none.
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
    """Replace a file by one that holds a JSON object.

    Raises:
        StorageError: when it cannot be written; the old file stays.
    """
    replace_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Replace a file.

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
    """Give a folder its final name; one that has the name already goes after this one is safe."""
    if final.exists():
        folder.rename(_replacement(final))
        flush_to_disk(final.parent)
        finish_replacing(final)
    else:
        folder.rename(final)
    flush_to_disk(final.parent)


def finish_replacing(final: Path) -> None:
    """Finish `put_in_place` where a crash has interrupted it."""
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
