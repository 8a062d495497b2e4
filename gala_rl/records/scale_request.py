"""A person's request, in a run's folder, that the run go on with another number of learners."""

import contextlib
import stat

from gala_rl.errors import LearnerFailure, StorageError, UserError
from gala_rl.records.run_folder import RunFolder, read_json, write_json

_MAX_BYTES = 1_000


def place(folder: RunFolder, learners: int) -> None:
    """Ask for it; whoever trains the run takes it up within a second.

    Raises:
        UserError: when somebody else is asking.
        StorageError: when it cannot be written.
    """
    if folder.scale_request.exists():
        raise UserError(f"run {folder.path} is being scaled by another gala scale: wait for it")
    with contextlib.suppress(OSError):
        folder.scale_refusal.unlink()
    write_json(folder.scale_request, {"learners": learners})


def pending(folder: RunFolder) -> int | None:
    """The number of learners that is asked for, None if nothing is; never waits.

    Raises:
        UserError: when it is not a request.
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
    if type(learners) is not int:
        raise UserError(f"{path} asks for {str(learners)[:60]!r} learners: give a whole number")
    return learners


def refuse(folder: RunFolder, why: UserError | LearnerFailure) -> None:
    """Remove it and leave behind why; whoever waits can but be told nothing on a full disk."""
    answer = {"why": str(why), "is_mistake": isinstance(why, UserError)}
    with contextlib.suppress(StorageError):
        write_json(folder.scale_refusal, answer)
    withdraw(folder)


def why_refused(folder: RunFolder) -> UserError | LearnerFailure | None:
    """Why the last request was refused; None if that is not known."""
    if not folder.scale_refusal.is_file():
        return None
    answer = read_json(folder.scale_refusal)
    error = UserError if answer.get("is_mistake") is True else LearnerFailure
    return error(f"run {folder.path} has refused: {answer.get('why')}")


def withdraw(folder: RunFolder) -> None:
    """Remove it, if it is there."""
    # Where it cannot be removed nothing else could be written either, which is told then.
    with contextlib.suppress(OSError):
        folder.scale_request.unlink()
