"""Folders of runs that were not trained, and what a folder holds, to see that none was touched."""

from pathlib import Path

from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder


def tree(folder: Path) -> dict[str, bytes | None]:
    """Content by path, None for a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def fake_run(folder: Path, agent_steps: int | None) -> None:
    """A run of 400 agent steps by two learners; its checkpoint, if any, is an empty folder."""
    config = resolve(TrainConfig(env="CartPole-v1", learners=2, steps=400, out=str(folder)))
    RunFolder(folder).create(config)
    if agent_steps is not None:
        (RunFolder(folder).checkpoints / f"step_{agent_steps:012d}").mkdir()
