"""Gives a checkpoint its name, so that one that had it before is never lost in a crash."""

import os
import shutil
from pathlib import Path

from gala_rl.records.run_folder import REPLACING


def put_in_place(folder: Path, final: Path) -> None:
    """Give a checkpoint its name. One that has it already goes once this one can be found."""
    if final.exists():
        folder.rename(_replacing(final))
        flush_to_disk(final.parent)
        finish_replacing(final)
    else:
        folder.rename(final)
    flush_to_disk(final.parent)


def finish_replacing(final: Path) -> None:
    """Give a checkpoint that replaces another its final name; a crash may have come before."""
    if _replacing(final).exists():
        shutil.rmtree(final, ignore_errors=True)
        _replacing(final).rename(final)


def _replacing(final: Path) -> Path:
    """Name of a checkpoint that replaces another of as many steps, as long as both are there."""
    return final.with_name(final.name + REPLACING)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
