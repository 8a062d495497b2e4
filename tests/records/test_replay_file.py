"""Replays in checkpoints: written without a copy, checked, and only in the newest checkpoint."""

import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from gala_rl.errors import StorageError, UserError
from gala_rl.records import checkpoint
from gala_rl.records.replay_file import (
    CHECKSUM,
    MappedArrays,
    open_replay,
    replay_file,
    replays_bytes,
    write_replay,
)

Arrays = dict[str, NDArray[Any]]


def arrays() -> Arrays:
    rng = np.random.default_rng(1)
    return {
        "images.0": rng.integers(0, 255, (7, 5), dtype=np.uint8),
        "part": rng.normal(size=(4, 9))[:, :3].astype(np.float32),
        "view": rng.normal(size=(4, 9))[:, :3],
        "flags": rng.random((2, 3)) < 0.5,
        "counts": np.arange(3),
        "older": np.arange(4, dtype=np.int16),
        "actions": np.arange(6, dtype=np.int32).reshape(2, 3),
        "states": np.zeros((2, 4, 0), np.float32),
    }


def save(checkpoints: Path, agent_steps: int, content: Arrays | None, kept: int = 3) -> Path:
    """Complete a checkpoint of one learner, with a replay if there is one."""
    checkpoints.mkdir(exist_ok=True)
    partial = checkpoint.partial_folder(checkpoints, "test")
    counters: dict[str, Any] = {}
    if content is not None:
        counters[CHECKSUM] = write_replay(partial, 0, content)
    state = checkpoint.LearnerState({"parameters": torch.ones(2)}, counters)
    checkpoint.write_part(partial, 0, state)
    return checkpoint.complete(partial, agent_steps, [agent_steps], kept)


def saved_in(folder: Path) -> MappedArrays:
    return open_replay(folder, 0, checkpoint.open_checkpoint(folder).counters(0)[CHECKSUM])


def test_what_is_read_is_what_was_written_and_other_programs_read_it(tmp_path: Path) -> None:
    folder = save(tmp_path, 100, arrays())
    theirs = load_file(replay_file(folder, 0))
    for read in (saved_in(folder), theirs):
        assert read.keys() == arrays().keys()
        for name, array in arrays().items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array, strict=True)


def test_a_replay_is_not_copied_in_memory(tmp_path: Path) -> None:
    size = 64 * 2**20
    views: Arrays = {
        "images.0": np.ones((8, size // 4), np.uint8)[:, : size // 8],
        "all": np.ones(size),
    }
    tracemalloc.start()
    checksum = write_replay(tmp_path, 0, views)
    read = open_replay(tmp_path, 0, checksum)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size
    np.testing.assert_array_equal(read["images.0"][3], views["images.0"][3])


def test_only_the_newest_checkpoint_has_the_replay(tmp_path: Path) -> None:
    folders = [save(tmp_path, steps, arrays()) for steps in (100, 200, 300)]
    assert [replay_file(folder, 0).exists() for folder in folders] == [False, False, True]
    assert replays_bytes(tmp_path) == replay_file(folders[-1], 0).stat().st_size > 0
    for folder in folders:
        assert checkpoint.open_checkpoint(folder).learners() == [0]
    with pytest.raises(UserError, match="has no replay of learner 0"):
        saved_in(folders[0])


def test_a_lost_replay_is_written_again_with_the_same_checkpoint(tmp_path: Path) -> None:
    folder = save(tmp_path, 100, arrays())
    replay_file(folder, 0).unlink()
    assert save(tmp_path, 100, arrays()) == folder
    assert saved_in(folder).keys() == arrays().keys()


def test_the_replay_of_a_learner_that_has_left_is_dropped(tmp_path: Path) -> None:
    partial = checkpoint.partial_folder(tmp_path, "test")
    for rank in (0, 1):
        write_replay(partial, rank, arrays())
        checkpoint.write_part(partial, rank, checkpoint.LearnerState({}, {}))
    checkpoint.drop_parts(partial, 1)
    folder = checkpoint.complete(partial, 30, [10, 20], kept=1)
    assert [replay_file(folder, rank).exists() for rank in (0, 1)] == [True, False]


@pytest.mark.parametrize("place", [0, 3, 20, -1])
def test_a_changed_byte_is_found(tmp_path: Path, place: int) -> None:
    folder = save(tmp_path, 100, arrays())
    content = bytearray(replay_file(folder, 0).read_bytes())
    content[place] ^= 1
    replay_file(folder, 0).write_bytes(content)
    with pytest.raises(UserError, match=r"the replay of learner 0 is damaged: .* has changed"):
        saved_in(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 9, b"\x02" + b"\0" * 7 + b"[]", b"\x08" + b"\0" * 7 + b'{"a": 1}'],
)
def test_what_is_no_replay_is_damaged_even_with_its_checksum(
    tmp_path: Path, content: bytes
) -> None:
    replay_file(tmp_path, 0).write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    with pytest.raises(UserError, match="the replay of learner 0 is damaged"):
        open_replay(tmp_path, 0, checksum)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = save(tmp_path, 100, arrays())
    replay_file(folder, 0).rename(tmp_path / "elsewhere")
    replay_file(folder, 0).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is not a plain file"):
        saved_in(folder)


def test_a_full_disk_leaves_no_replay(tmp_path: Path) -> None:
    (tmp_path / ".learner_00.replay.safetensors").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left"):
        write_replay(tmp_path, 0, arrays())
    assert not replay_file(tmp_path, 0).exists()
