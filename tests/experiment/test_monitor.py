"""What a monitor tells of a run that goes on from a checkpoint."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gala_rl.config import TrainConfig
from gala_rl.experiment.monitor import Monitor
from gala_rl.experiment.progress import Progress
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint, LearnerState
from gala_rl.records.run_folder import RunFolder
from gala_rl.systems.status import Status
from tests.experiment.compare.rows import Row, rows

CONFIG = TrainConfig(env="CartPole-v1", learners=3)


def save(folder: RunFolder, *made: int) -> Checkpoint:
    """A checkpoint at which learners had made so many agent steps each."""
    partial = checkpoint.partial_folder(folder.checkpoints, "test")
    checkpoint.write_part(partial, 0, LearnerState({"parameters": torch.zeros(1)}, {}))
    path = checkpoint.complete(partial, sum(made), list(made), 1)
    return checkpoint.open_checkpoint(path)


def append(folder: RunFolder, rank: int, written: Sequence[Row]) -> None:
    with folder.metrics_file(rank).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row | {"learner": rank}) + "\n" for row in written)


def test_games_of_work_that_a_kill_has_lost_are_no_part_of_the_mean_return(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    progress = Progress(CONFIG, 1, 0, Console(file=io.StringIO()))
    # Learner 0 was killed at 300 twice, learner 1 had left, learner 2 joined after the checkpoint.
    append(folder, 0, rows([1.0, 2.0, 3.0], [100, 200, 300], returns=[[1.0], [2.0], [900.0]]))
    append(folder, 0, rows([4.0], [250], returns=[[3.0]]))
    append(folder, 0, rows([5.0, 6.0], [280, 300], returns=[[900.0], [900.0]]))
    append(folder, 1, rows([1.5], [100], returns=[[6.0]]))
    append(folder, 2, rows([5.5], [20], returns=[[900.0]]))
    start = save(folder, 270, 100)
    monitor = Monitor(CONFIG, folder, progress, start)
    assert monitor.mean_return == pytest.approx((1.0 + 2.0 + 3.0 + 6.0) / 4)
    assert {rank: row["agent_steps"] for rank, row in monitor.latest.items()} == {0: 250, 1: 100}
    append(folder, 0, rows([7.0], [290], returns=[[8.0]]))
    monitor.close(
        Status(agent_steps=[290, 100, 0], updates=[0] * 3, alive=[True] * 3, restarts=[0] * 3)
    )
    assert monitor.mean_return == pytest.approx((1.0 + 2.0 + 3.0 + 6.0 + 8.0) / 5)
