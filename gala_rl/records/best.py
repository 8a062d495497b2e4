"""The best checkpoint of a run: its files beside the numbered checkpoints, with a score.

checkpoints/best/
score.json      mean_return, agent_steps, and by: "training" or "evaluation"
…               the files of a checkpoint
"""

import os
import shutil
from pathlib import Path
from typing import Literal, TypedDict, cast

from gala_rl.decode import Count, Number, fits
from gala_rl.errors import StorageError, UserError
from gala_rl.records.files import (
    finish_replacing,
    flush_to_disk,
    put_in_place,
    read_json,
    write_json,
)

Measure = Literal["training", "evaluation"]
"""What a score is the mean of: the last 100 games of training, or games of an evaluation."""

_SCORE = "score.json"


class BestScore(TypedDict):
    """Content of `score.json`.

    Attributes:
        mean_return: mean raw return.
        agent_steps: total agent steps of the checkpoint.
        by: see `Measure`.
    """

    mean_return: Number
    agent_steps: Count
    by: str


def best_folder(checkpoints: Path) -> Path:
    """Return the folder of the best checkpoint, which need not exist."""
    return checkpoints / "best"


def read_score(checkpoints: Path) -> BestScore | None:
    """Return the score of the best checkpoint; None if there is none that can be read."""
    try:
        score = read_json(best_folder(checkpoints) / _SCORE)
    except UserError:
        return None
    return cast(BestScore, score) if fits(BestScore, score) else None


def keep_if_better(checkpoint: Path, mean_return: float, agent_steps: int, by: Measure) -> bool:
    """Make a checkpoint the best one if its score is higher; return whether it is.

    A score by another measure cannot be compared, and is replaced.

    Args:
        checkpoint: folder of a complete checkpoint.
        mean_return: its score.
        agent_steps: its total agent steps.
        by: how the score was measured.

    Raises:
        StorageError: when it cannot be written; the former best one stays.
    """
    best = best_folder(checkpoint.parent)
    try:
        finish_replacing(best)
        before = read_score(checkpoint.parent)
        if before is not None and before["by"] == by and mean_return <= before["mean_return"]:
            return False
        copied = link_files(checkpoint, checkpoint.parent / ".partial-best")
        score: BestScore = {"mean_return": mean_return, "agent_steps": agent_steps, "by": by}
        write_json(copied / _SCORE, {**score})
        flush_to_disk(copied)
        put_in_place(copied, best)
    except OSError as error:
        raise StorageError(f"checkpoint {best} cannot be written ({error.strerror})") from error
    return True


def link_files(checkpoint: Path, to: Path) -> Path:
    """Give the files of a checkpoint a second place, which takes no space while both exist.

    They are copied where the file system has no hard links.

    Raises:
        OSError: when this is not possible.
    """
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for file in checkpoint.iterdir():
        if file.name == _SCORE:
            continue
        try:
            os.link(file, to / file.name)
        except OSError:
            shutil.copyfile(file, to / file.name)
    return to
