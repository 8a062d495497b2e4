"""A node's files: what is new is read once, parts are whole, and killed nodes leave nothing."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gala_rl.cluster.node_run_folder import NodeRunFolder, checkpoint_files
from gala_rl.cluster.protocol import NodeSpec
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.checkpoint import LearnerState
from gala_rl.records.run_folder import RunFolder

LOG, METRICS = "logs/learner_02.log", "metrics/learner_02.jsonl"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeSpec:
    """The spec of the second of two nodes, whose temporary folders are in `tmp_path`."""
    run = RunFolder(tmp_path / "run")
    run.create(
        resolve(TrainConfig(env="CartPole-v1", learners=3, learners_per_node=2, cluster="auto"))
    )
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    files = {"config.json": run.config_file.read_bytes(), LOG: b"before\n"}
    return NodeSpec(1, 1, (range(2), range(2, 3)), files, [0] * 3, [0] * 3)


def test_a_node_hears_a_sender_elsewhere_from_its_older_part_on(spec: NodeSpec) -> None:
    run = RunFolder(Path(tempfile.gettempdir()) / "saved")
    partial = checkpoint.partial_folder(run.checkpoints, "test")
    run.checkpoints.mkdir(parents=True)
    for rank, version, mixed in ((0, 5, {"2": 4}), (1, 5, {"0": 5}), (2, 9, {"1": 8})):
        counters = {"version": version, "mixed_versions": mixed}
        state = LearnerState({"parameters": torch.zeros(1)}, counters)
        checkpoint.write_part(partial, rank, state)
    start = checkpoint.open_checkpoint(checkpoint.complete(partial, 30, [10] * 3, 1))
    files = checkpoint_files(start, (2,))
    assert {Path(name).stem for name in files} == {"learner_00", "learner_02"}
    node_folder = NodeRunFolder(replace(spec, checkpoint=files))
    assert node_folder.checkpoint is not None
    there = checkpoint.open_checkpoint(node_folder.checkpoint)
    assert [there.mixed_versions(rank) for rank in (0, 2)] == [{2: 4}, {1: 5}]
    assert torch.equal(there.load(2).tensors["parameters"], torch.zeros(1))


def test_what_was_added_is_read_once(spec: NodeSpec) -> None:
    node_folder = NodeRunFolder(spec)
    assert node_folder.folder.read_config().learners == 3
    read = {LOG: len(b"before\n"), METRICS: 0}
    assert node_folder.appended(read) == {}
    with node_folder.folder.log_file(2).open("ab") as log:
        log.write(b"now\n")
    node_folder.folder.metrics_file(2).write_bytes(b"{}\n")
    assert node_folder.appended(read) == {LOG: b"now\n", METRICS: b"{}\n"}
    assert node_folder.appended({LOG: 11, METRICS: 3}) == {}


def test_a_log_without_end_comes_in_pieces(spec: NodeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gala_rl.cluster.node_run_folder._READ_BYTES", 4)
    node_folder, read, pieces = NodeRunFolder(spec), {LOG: 0}, []
    while news := node_folder.appended(read):
        pieces.append(news[LOG])
        read[LOG] += len(news[LOG])
    assert pieces == [b"befo", b"re\n"]


def test_only_whole_parts_are_given_and_old_ones_are_forgotten(spec: NodeSpec) -> None:
    node_folder = NodeRunFolder(spec)
    checkpoints = node_folder.folder.checkpoints
    for request in ("1", "2", "final"):
        partial = checkpoint.partial_folder(checkpoints, request)
        partial.mkdir()
        (partial / "learner_02.safetensors").write_bytes(b"tensors")
        assert node_folder.checkpoint_part(request, 2) is None
        (partial / "learner_02.json").write_bytes(b"{}")
        assert node_folder.checkpoint_part(request, 2) == {
            "learner_02.json": b"{}",
            "learner_02.safetensors": b"tensors",
        }
    node_folder.forget_parts(except_for=2)
    assert node_folder.checkpoint_part("1", 2) is None
    assert node_folder.checkpoint_part("2", 2) is not None
    assert node_folder.checkpoint_part("final", 2) is not None


def test_a_part_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are not files of a checkpoint"):
        checkpoint.copy_part(tmp_path / "partial", {"../elsewhere.json": b"{}"})
    assert not list(tmp_path.iterdir())


def test_a_node_removes_its_files_and_those_of_killed_ones(spec: NodeSpec) -> None:
    living, killed = NodeRunFolder(spec), NodeRunFolder(spec)
    killed._lock.close()  # as the system does for a process that is gone
    long_ago = 1.0
    for node_folder in (living, killed):
        os.utime(node_folder.folder.path, (long_ago, long_ago))
    node_folder = NodeRunFolder(spec)
    assert living.folder.path.exists(), "it is held"
    assert not killed.folder.path.exists()
    node_folder.remove()
    assert not node_folder.folder.path.exists()
