"""Checkpoints are whole or absent, whenever a process ends."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gala_rl.errors import StorageError
from gala_rl.records import checkpoint
from gala_rl.records import files as replacing
from gala_rl.records.checkpoint import LearnerState
from gala_rl.records.run_folder import RunFolder
from tests.support.checkpoints import names, newest, save, state


def test_tensors_and_counters_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        "floats": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        "pixels": torch.arange(12, dtype=torch.uint8).reshape(3, 4).T,
        "integers": torch.tensor(-(2**62)),
        "flags": torch.tensor([True, False]),
    }
    counters = {"updates": 7, "recent_returns": [1.5, -21.0], "mixed_versions": {"1": 6}}
    partial = checkpoint.partial_folder(tmp_path, "test")
    checkpoint.write_part(partial, 3, LearnerState(tensors, counters))
    found = checkpoint.open_checkpoint(checkpoint.complete(partial, 80, [0, 0, 0, 80], 1))
    assert found.learners() == [3]
    assert found.agent_steps == 80
    assert found.manifest["learner_agent_steps"] == [0, 0, 0, 80]
    loaded = found.load(3)
    assert loaded.counters == counters
    assert set(loaded.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


def test_a_part_that_was_not_written_to_its_end_does_not_count(tmp_path: Path) -> None:
    partial = checkpoint.partial_folder(tmp_path, "test")
    checkpoint.write_part(partial, 0, state(1))
    # Killed before its counters were there, and while they were being written.
    (partial / "learner_01.safetensors").write_bytes(b"half")
    (partial / ".learner_01.json").write_text('{"upd')
    assert checkpoint.parts(partial) == ["00"]
    found = checkpoint.open_checkpoint(checkpoint.complete(partial, 80, [80, 0], kept=1))
    assert found.learners() == [0]
    files = ["learner_00.json", "learner_00.safetensors", "manifest.json"]
    assert names(found.path) == files


def test_a_part_that_cannot_be_written_is_told_and_does_not_count(tmp_path: Path) -> None:
    save(tmp_path, 100)
    partial = checkpoint.partial_folder(tmp_path, "test")
    partial.mkdir()
    (partial / "learner_00.safetensors").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        checkpoint.write_part(partial, 0, state(1))
    (partial / ".learner_01.json").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"cannot be written .*No space left on device"):
        checkpoint.write_part(partial, 1, state(1))
    assert checkpoint.parts(partial) == []
    assert newest(tmp_path).agent_steps == 100


def test_a_checkpoint_that_cannot_be_completed_costs_no_older_one(tmp_path: Path) -> None:
    save(tmp_path, 100)
    partial = checkpoint.partial_folder(tmp_path, "test")
    checkpoint.write_part(partial, 0, state(200))
    (partial / "manifest.json").mkdir()
    with pytest.raises(StorageError, match="step_000000000200 cannot be written"):
        checkpoint.complete(partial, 200, [200], kept=1)
    assert newest(tmp_path).agent_steps == 100


def test_every_learner_finds_its_own_part(tmp_path: Path) -> None:
    save(tmp_path, 100, learners=12)
    found = newest(tmp_path)
    assert found.learners() == list(range(12))
    for rank in range(12):
        assert found.load(rank).tensors["parameters"][0] == 100 + rank


def test_parts_without_a_manifest_are_no_checkpoint(tmp_path: Path) -> None:
    partial = checkpoint.partial_folder(tmp_path, "test")
    checkpoint.write_part(partial, 0, state(1))
    assert checkpoint.newest(tmp_path) is None
    save(tmp_path / "other", 100)
    assert checkpoint.newest(tmp_path / "other") is not None


def test_a_crash_before_the_name_is_given_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 100)

    def crash(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 200)
    assert newest(tmp_path).agent_steps == 100


def test_everything_is_on_disk_before_the_name_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    flush, rename = replacing.flush_to_disk, Path.rename

    def note_flush(path: Path) -> None:
        events.append(path.name)
        flush(path)

    def note_rename(self: Path, target: Path) -> Path:
        events.append("rename")
        return rename(self, target)

    for module in (checkpoint, replacing):
        monkeypatch.setattr(module, "flush_to_disk", note_flush)
    monkeypatch.setattr(Path, "rename", note_rename)
    final = save(tmp_path, 100)
    renamed = events.index("rename")
    assert {path.name for path in final.iterdir()} < set(events[:renamed])
    assert events[renamed + 1 :] == [tmp_path.name]


def test_discarded_parts_are_gone(tmp_path: Path) -> None:
    partial = checkpoint.partial_folder(tmp_path, "test")
    checkpoint.write_part(partial, 0, state(1))
    checkpoint.discard(partial)
    checkpoint.discard(partial)
    assert names(tmp_path) == []


def test_the_newest_wins_by_agent_steps(tmp_path: Path) -> None:
    for agent_steps in (900, 10_000, 1_000):
        save(tmp_path, agent_steps)
    assert newest(tmp_path).agent_steps == 10_000


def test_the_oldest_are_dropped(tmp_path: Path) -> None:
    for agent_steps in (100, 200, 300, 400):
        save(tmp_path, agent_steps, kept=2)
    assert names(tmp_path) == ["step_000000000300", "step_000000000400"]


def test_a_checkpoint_of_other_learners_at_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 100, learners=3)
    save(tmp_path, 100, learners=1)
    assert newest(tmp_path).learners() == [0]
    assert names(tmp_path) == ["step_000000000100"]


def test_without_checkpoints_there_is_no_newest(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "nowhere") is None


def test_parts_of_those_who_left_are_dropped(tmp_path: Path) -> None:
    folder = checkpoint.partial_folder(tmp_path, "1")
    for rank in (0, 1, 2, 11):
        state = checkpoint.LearnerState({"parameters": torch.ones(2)}, {})
        checkpoint.write_part(folder, rank, state)
    checkpoint.drop_parts(folder, 2)
    path = checkpoint.complete(folder, 30, [10, 10, 10], kept=3)
    saved = checkpoint.open_checkpoint(path)
    assert saved.learners() == [0, 1]
    assert saved.manifest["learner_agent_steps"] == [10, 10, 10]
    names = {file.name for file in path.iterdir()}
    assert names == {f"learner_0{i}.{end}" for i in (0, 1) for end in ("json", "safetensors")} | {
        "manifest.json"
    }


def test_parts_that_are_newer_replace_those_of_as_many_steps(tmp_path: Path) -> None:
    """The steps are those made when a checkpoint is completed, and parts were written before."""
    for updates in (399, 400):
        folder = checkpoint.partial_folder(tmp_path, "1")
        state = checkpoint.LearnerState({"parameters": torch.ones(2)}, {"updates": updates})
        checkpoint.write_part(folder, 0, state)
        saved = checkpoint.open_checkpoint(checkpoint.complete(folder, 100, [100], kept=3))
        assert saved.load(0).counters["updates"] == updates
    assert names(tmp_path) == ["step_000000000100"]


def test_a_checkpoint_is_not_replaced_by_one_that_holds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, 100)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    removed: list[Path] = []
    rmtree = shutil.rmtree

    def note(path: Path, **arguments: Any) -> None:
        removed.append(path)
        rmtree(path, **arguments)

    monkeypatch.setattr(shutil, "rmtree", note)
    assert save(tmp_path, 100) == folder
    assert folder not in removed, "not even for a moment"
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before
    assert names(tmp_path) == ["step_000000000100"]


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("steps_before_the_crash", range(3))
def test_a_crash_while_a_checkpoint_is_replaced_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_before_the_crash: int
) -> None:
    save(tmp_path, 100, learners=3)
    left = steps_before_the_crash

    def crash_in_time(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return call(*arguments, **options)

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash_in_time(Path.rename))
        patch.setattr(shutil, "rmtree", crash_in_time(shutil.rmtree))
        with pytest.raises(Crash):
            save(tmp_path, 100, learners=2)
    found = newest(tmp_path)
    assert found.learners() == ([0, 1, 2] if steps_before_the_crash == 0 else [0, 1])
    checkpoint.discard(checkpoint.partial_folder(tmp_path, "test"))
    save(tmp_path, 100, learners=1)
    assert newest(tmp_path).learners() == [0]
    assert names(tmp_path) == ["step_000000000100"]


def test_the_steps_of_a_checkpoint_that_was_replacing_another_are_known(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    save(run.checkpoints, 100).rename(run.checkpoints / "step_000000000100-new")
    assert run.checkpointed_agent_steps() == 100
    assert newest(run.checkpoints).agent_steps == 100
