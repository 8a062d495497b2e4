"""Runs that keep their replay with their checkpoints: resumed as if they had never stopped."""

import io
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gala_rl.app.train import resume, train
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import UserError
from gala_rl.gossip import MemoryNetwork
from gala_rl.methods.dqn import DQNSettings
from gala_rl.methods.q_learning import QLearningSettings
from gala_rl.records.checkpoint import Checkpoint
from gala_rl.records.metrics import MetricsReader
from gala_rl.records.replay_file import CHECKSUM, open_replay, replay_file
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_run import LearnerRun
from tests.run.test_q_learning import DQN, R2D2, both, make_config, rows_of
from tests.support.run_records import newest

UNTIMED = ("time", "agent_steps_per_s", "episode_times", "rss_mb", "cores")


def saving(settings: QLearningSettings, path: Path, **changes: object) -> ResolvedConfig:
    saved = replace(settings, save_replay=True)
    config = make_config(saved, out=str(path), **({"steps": 1_600, "serial": True} | changes))
    # Of an environment that saves its state.
    return replace(config, env="tests.environments:Drifting-v0")


def silently(config: ResolvedConfig) -> RunFolder:
    assert config.out is not None
    train(config, Console(file=io.StringIO()))
    return RunFolder(Path(config.out))


def resumed(folder: RunFolder, steps: int) -> str:
    """Resume a run; return what it prints."""
    printed = io.StringIO()
    resume(folder.path, steps, Console(file=printed, width=400))
    return printed.getvalue()


def rows(folder: RunFolder, rank: int) -> list[dict[str, object]]:
    read = MetricsReader(folder.metrics_file(rank)).new_rows()
    return [{k: v for k, v in row.items() if k not in UNTIMED and k[-2:] != "_s"} for row in read]


@both
def test_stopping_and_resuming_changes_nothing_bit_for_bit(
    tmp_path: Path, settings: QLearningSettings
) -> None:
    # A batch takes several updates, so that the newest means are older than the checkpoint.
    # A schedule of ε would know that the budget of the first part is smaller.
    settings = replace(settings, replay_ratio=0.3, min_replay=100, exploration="ladder")
    straight = silently(saving(settings, tmp_path / "straight", steps=2_400))
    broken = silently(saving(settings, tmp_path / "broken", steps=1_640))
    assert "min-replay" not in resumed(broken, 2_400)
    one, other = newest(straight), newest(broken)
    for rank in (0, 1):
        left, right = one.load(rank), other.load(rank)
        assert left.counters == right.counters
        assert left.counters[CHECKSUM]
        assert left.tensors.keys() == right.tensors.keys()
        for name, tensor in left.tensors.items():
            assert torch.equal(tensor, right.tensors[name]), name
        assert rows(straight, rank) == rows(broken, rank)
        assert rows(straight, rank)[-1]["gradient_steps"]


def test_learners_in_processes_learn_on_at_once(tmp_path: Path) -> None:
    folder = silently(saving(DQN, tmp_path / "run", serial=False))
    # In processes, one of the two learners may make most of the steps.
    rank = max((0, 1), key=lambda rank: rows_of(folder, rank)[-1]["replay_steps"])
    made = rows_of(folder, rank)
    printed = resumed(folder, 2_400)
    assert "the newest checkpoint has the replay too: up to 0.00 GiB" in printed
    first = rows_of(folder, rank)[len(made)]
    assert first["gradient_steps"] > made[-1]["gradient_steps"]
    assert first["replay_steps"] > made[-1]["replay_steps"] > 700


def damage(saved: Checkpoint, rank: int) -> None:
    file = replay_file(saved.path, rank)
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")


@pytest.mark.parametrize("serial", [True, False])
def test_a_damaged_or_lost_replay_is_filled_anew_and_reported(tmp_path: Path, serial: bool) -> None:
    folder = silently(saving(R2D2, tmp_path / "run", serial=serial))
    saved = newest(folder)
    damage(saved, 0)
    replay_file(saved.path, 1).unlink()
    made = [len(rows_of(folder, rank)) for rank in (0, 1)]
    lines = resumed(folder, 2_400).splitlines()
    again = "learners first collect as many agent steps again as at the start (--min-replay)"
    assert sum(line.endswith(again) for line in lines) == 2
    assert any("the replay of learner 0 is damaged" in line for line in lines)
    assert any("has no replay of learner 1" in line for line in lines)
    for rank in (0, 1):
        before = int(saved.load(rank).tensors["replay_counts"][0])
        waiting = [row["gradient_steps"] == before for row in rows_of(folder, rank)[made[rank] :]]
        assert all(waiting[:9])
        assert not any(waiting[11:])
    again_saved = newest(folder)
    for rank in (0, 1):
        assert open_replay(again_saved.path, rank, again_saved.counters(rank)[CHECKSUM])


def test_a_replay_of_another_size_is_refused(tmp_path: Path) -> None:
    config = saving(DQN, tmp_path / "run")
    folder = silently(config)
    assert isinstance(config.algorithm, DQNSettings)
    smaller = replace(config.algorithm, replay_size=400, min_replay=100)
    other = replace(config, algorithm=smaller)
    transport = MemoryNetwork(2).transport(0)
    with (
        closing(LearnerRun(other, 0, transport, torch.device("cpu"), folder)) as run,
        pytest.raises(UserError, match=r"can have saved: the saved replay has no slots\."),
    ):
        run.restore(newest(folder))
