"""Checks the replays of learners: whether they are learned from, and fit on the disk if saved."""

import shutil
from pathlib import Path

from gala_rl.checks import Row
from gala_rl.checks.machine import replay_bytes
from gala_rl.config.resolved import ResolvedConfig


def learning_rows(config: ResolvedConfig) -> list[Row]:
    """Return the check that a new run is long enough for a gradient step of every learner."""
    needed = config.learners * config.algorithm.steps_before_learning
    return [
        (
            needed > config.steps,
            f"steps {config.steps:,} is too few: {config.method} makes no gradient step before "
            f"{needed:,.0f}, which follow from learners, min_replay, batch_size and replay_ratio; "
            f"use more, a smaller min_replay or a larger replay_ratio",
        )
    ]


def saved_bytes(config: ResolvedConfig) -> int:
    """Return the most bytes that the replays of a checkpoint take; 0 if they are not saved."""
    if not config.algorithm.saves_replay:
        return 0
    return config.learners * replay_bytes(config)


def disk_rows(config: ResolvedConfig, folder: Path, already: int = 0) -> list[Row]:
    """Return the check that the disk of a run's folder has room for the replays that it saves.

    Args:
        config: resolved config of the run.
        folder: folder of the run, or where it will be created.
        already: bytes of replays that are in it.
    """
    if not (size := saved_bytes(config)):
        return []
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    return [
        (
            2 * size > free + already,
            f"save_replay needs {2 * size / 2**30:,.1f} GiB of disk, twice the size of the "
            f"replays, and {place} has {free / 2**30:,.1f} free: use a smaller replay_size, "
            f"another --out, or leave it out",
        )
    ]
