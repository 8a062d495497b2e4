"""Requests to change the number of learners of a run, by a file in the run's folder."""

import contextlib
import stat
from typing import TypedDict

from gala_rl.decode import decode, fits
from gala_rl.errors import LearnerFailure, StorageError, UserError
from gala_rl.records.files import read_json, write_json
from gala_rl.records.run_folder import RunFolder

_MAX_BYTES = 1_000


class _Refusal(TypedDict):
    why: str
    is_mistake: bool


def place(folder: RunFolder, learners: int) -> None:
    """Write a request; the process that trains the run reads it within a second.

    Raises:
        UserError: when there is another request.
        StorageError: when it cannot be written.
    """
    if folder.scale_request.exists():
        raise UserError(f"run {folder.path} is being scaled by another gala scale: wait for it")
    with contextlib.suppress(OSError):
        folder.scale_refusal.unlink()
    write_json(folder.scale_request, {"learners": learners})


def pending(folder: RunFolder) -> int | None:
    """Return the requested number of learners, None without a request; never wait.

    Raises:
        UserError: when the file is not a request.
    """
    path = folder.scale_request
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    if status.st_size > _MAX_BYTES:
        raise UserError(f"{path} has {status.st_size:,} bytes, which no request has")
    learners = read_json(path).get("learners")
    if not fits(int, learners):
        raise UserError(f"{path} asks for {str(learners)[:60]!r} learners: give a whole number")
    return learners


def refuse(folder: RunFolder, why: UserError | LearnerFailure) -> None:
    """Remove the request and write why it is refused, unless the disk is full."""
    answer = {"why": str(why), "is_mistake": isinstance(why, UserError)}
    with contextlib.suppress(StorageError):
        write_json(folder.scale_refusal, answer)
    withdraw(folder)


def why_refused(folder: RunFolder) -> UserError | LearnerFailure | None:
    """Return why the latest request was refused; None if that is not known."""
    file = folder.scale_refusal
    if not file.is_file():
        return None
    answer = decode(_Refusal, read_json(file), str(file))
    error = UserError if answer["is_mistake"] else LearnerFailure
    return error(f"run {folder.path} has refused: {answer['why']}")


def withdraw(folder: RunFolder) -> None:
    """Remove the request, if there is one."""
    # If it cannot be removed, other writes to the folder fail too, and are reported.
    with contextlib.suppress(OSError):
        folder.scale_request.unlink()
