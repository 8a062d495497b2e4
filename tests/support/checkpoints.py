"""Checkpoints of learners whose parameters name their steps."""

from pathlib import Path

import torch

from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import Checkpoint, LearnerState


def state(number: float) -> LearnerState:
    return LearnerState({"parameters": torch.full((5,), number)}, {"updates": int(number)})


def save(checkpoints: Path, agent_steps: int, kept: int = 3, learners: int = 2) -> Path:
    checkpoints.mkdir(exist_ok=True)
    partial = checkpoint.partial_folder(checkpoints, "test")
    for rank in range(learners):
        checkpoint.write_part(partial, rank, state(agent_steps + rank))
    return checkpoint.complete(partial, agent_steps, [agent_steps // 2] * learners, kept)


def newest(checkpoints: Path) -> Checkpoint:
    found = checkpoint.newest(checkpoints)
    assert found is not None
    return found


def names(checkpoints: Path) -> list[str]:
    return sorted(path.name for path in checkpoints.iterdir())
