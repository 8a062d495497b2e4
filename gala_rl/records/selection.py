"""Selects a checkpoint of a run: the newest, the best, or that of some agent steps."""

from pathlib import Path

from gala_rl.config.fields import parse_count
from gala_rl.errors import UserError
from gala_rl.records.best import best_folder, link_files, read_score
from gala_rl.records.files import flush_to_disk
from gala_rl.records.run_folder import RunFolder, agent_steps_of, checkpoint_folders

NEWEST, BEST = "newest", "best"


def selected(folder: RunFolder, choice: str | int) -> Path | None:
    """Return the folder of a checkpoint, by name alone; None for the newest one.

    Args:
        folder: folder of the run.
        choice: "newest", "best", or agent steps such as 400000 or "4M".

    Raises:
        UserError: when there is no such checkpoint.
    """
    if choice == NEWEST:
        return None
    folders = {agent_steps_of(path): path for path in checkpoint_folders(folder.checkpoints)}
    if choice == BEST:
        if read_score(folder.checkpoints) is None:
            raise UserError(
                f"{folder.path} has no best checkpoint yet: one is kept once 100 games or an "
                f"evaluation have ended; choose newest"
            )
        return best_folder(folder.checkpoints)
    try:
        steps = parse_count(str(choice))
    except ValueError as error:
        raise UserError(
            f"checkpoint {choice!r} is unknown: choose best, newest or agent steps"
        ) from error
    if steps not in folders:
        names = ", ".join(map(str, sorted(folders))) or "none"
        raise UserError(f"{folder.path} has no checkpoint of {steps} agent steps: it has {names}")
    return folders[steps]


def steps_of(folder: RunFolder, choice: str | int) -> int | None:
    """Return the agent steps of a selected checkpoint; None if the run has no checkpoint.

    Raises:
        UserError: as `selected`.
    """
    path = selected(folder, choice)
    if path is None:
        return folder.checkpointed_agent_steps()
    score = read_score(folder.checkpoints)
    return score["agent_steps"] if choice == BEST and score else agent_steps_of(path)


def make_newest(folder: RunFolder, choice: str | int) -> None:
    """Make a selected checkpoint the run's newest one; later ones are moved into `earlier`.

    Raises:
        UserError: when there is no such checkpoint, or the folder cannot be written.
    """
    path, steps = selected(folder, choice), steps_of(folder, choice)
    if path is None or steps is None:
        return
    try:
        if choice == BEST and steps not in map(agent_steps_of, checkpoint_folders(path.parent)):
            copied = link_files(path, path.parent / ".partial-selected")
            copied.rename(path.parent / f"step_{steps:012d}")
        later = [p for p in checkpoint_folders(path.parent) if agent_steps_of(p) > steps]
        if later:
            folder.earlier.mkdir(exist_ok=True)
            aside = folder.earlier / str(1 + sum(1 for _ in folder.earlier.iterdir()))
            aside.mkdir()
        for checkpoint in later:
            checkpoint.rename(aside / checkpoint.name)
        flush_to_disk(path.parent)
    except OSError as error:
        raise UserError(
            f"run folder {folder.path} cannot be written ({error.strerror}): make room"
        ) from error
