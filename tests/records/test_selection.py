"""The best checkpoint is kept and replaced; a run's checkpoints are selected by name."""

import json
from pathlib import Path

import pytest
import torch

from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.records import checkpoint
from gala_rl.records.best import best_folder, keep_if_better, read_score
from gala_rl.records.checkpoint import LearnerState, open_checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.records.selection import make_newest, selected, steps_of


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create(TrainConfig(env="CartPole-v1", learners=1))
    return folder


def save(folder: RunFolder, agent_steps: int, kept: int = 10) -> Path:
    partial = checkpoint.partial_folder(folder.checkpoints, "test")
    state = LearnerState({"parameters": torch.full((3,), float(agent_steps))}, {})
    checkpoint.write_part(partial, 0, state)
    return checkpoint.complete(partial, agent_steps, [agent_steps], kept)


def parameters(path: Path) -> float:
    return float(open_checkpoint(path).load(0).tensors["parameters"][0])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_only_a_higher_score_replaces_the_best_checkpoint(folder: RunFolder) -> None:
    best = best_folder(folder.checkpoints)
    assert keep_if_better(save(folder, 100), 5.0, 100, "training")
    assert not keep_if_better(save(folder, 200), 5.0, 200, "training")
    assert parameters(best) == 100.0
    assert keep_if_better(save(folder, 300), 5.1, 300, "training")
    assert parameters(best) == 300.0
    assert read_score(folder.checkpoints) == {
        "mean_return": 5.1,
        "agent_steps": 300,
        "by": "training",
    }
    assert names(folder.checkpoints) == {"best", *(f"step_{n:012d}" for n in (100, 200, 300))}


def test_scores_of_another_measure_are_not_compared(folder: RunFolder) -> None:
    keep_if_better(save(folder, 100), 50.0, 100, "training")
    assert keep_if_better(save(folder, 200), -1.0, 200, "evaluation")
    assert parameters(best_folder(folder.checkpoints)) == 200.0


def test_the_best_checkpoint_outlives_the_one_it_came_from(folder: RunFolder) -> None:
    keep_if_better(save(folder, 100), 5.0, 100, "training")
    save(folder, 200, kept=1)
    assert names(folder.checkpoints) == {"best", "step_000000000200"}
    assert parameters(best_folder(folder.checkpoints)) == 100.0


@pytest.mark.parametrize("leaves", ["best-new", ".partial-best"])
def test_a_crash_while_it_is_replaced_costs_nothing(folder: RunFolder, leaves: str) -> None:
    keep_if_better(save(folder, 100), 5.0, 100, "training")
    best_folder(folder.checkpoints).rename(folder.checkpoints / leaves)
    assert keep_if_better(save(folder, 200), 6.0, 200, "training")
    assert parameters(best_folder(folder.checkpoints)) == 200.0
    assert names(folder.checkpoints) == {"best", "step_000000000100", "step_000000000200"}


@pytest.mark.parametrize("content", ["", "[]", '{"by": 3}', '{"mean_return": "x"}'])
def test_a_damaged_score_counts_as_none(folder: RunFolder, content: str) -> None:
    keep_if_better(save(folder, 100), 5.0, 100, "training")
    (best_folder(folder.checkpoints) / "score.json").write_text(content, encoding="utf-8")
    assert read_score(folder.checkpoints) is None
    with pytest.raises(UserError, match="has no best checkpoint yet"):
        selected(folder, "best")


def test_checkpoints_are_selected_by_name(folder: RunFolder) -> None:
    assert steps_of(folder, "newest") is None
    with pytest.raises(UserError, match="it has none"):
        selected(folder, "400")
    first = save(folder, 4_000)
    keep_if_better(first, 5.0, 4_000, "training")
    save(folder, 5_000)
    assert selected(folder, "newest") is None
    assert selected(folder, "best") == best_folder(folder.checkpoints)
    assert [selected(folder, choice) for choice in ("4k", "4000", 4000)] == [first] * 3
    assert [steps_of(folder, c) for c in ("newest", "best", "4k")] == [5_000, 4_000, 4_000]
    with pytest.raises(UserError, match="no checkpoint of 4001 agent steps: it has 4000, 5000"):
        selected(folder, "4001")
    with pytest.raises(UserError, match="checkpoint 'worst' is unknown: choose best, newest or"):
        selected(folder, "worst")


@pytest.mark.parametrize("choice", ["best", "100"])
def test_later_checkpoints_are_moved_aside(folder: RunFolder, choice: str) -> None:
    keep_if_better(save(folder, 100), 5.0, 100, "training")
    save(folder, 200, kept=1 if choice == "best" else 2)
    save(folder, 300, kept=2 if choice == "best" else 3)
    make_newest(folder, choice)
    newest = checkpoint.newest(folder.checkpoints)
    assert newest is not None
    assert newest.agent_steps == 100
    assert names(folder.checkpoints) == {"best", "step_000000000100"}
    assert names(folder.earlier / "1") == {"step_000000000200", "step_000000000300"}
    assert json.loads((newest.path / "manifest.json").read_text("utf-8"))["agent_steps"] == 100
