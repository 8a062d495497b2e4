"""A run's folder is made once, never overwrites anything, and records how the run was made."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gala_rl.config import train as configs
from gala_rl.config.settings import GossipSettings
from gala_rl.config.train import TrainConfig
from gala_rl.cores import usable_cores
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS
from gala_rl.methods.a2c import A2CSettings
from gala_rl.records import provenance
from gala_rl.records.files import read_json, write_json
from gala_rl.records.run_folder import RunFolder

CONFIG = TrainConfig(env="CartPole-v1", learners=2, seed=5, algorithm=A2CSettings(discount=0.9))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "some" / "run")


def test_a_new_folder_holds_the_config_and_what_it_ran_on(folder: RunFolder) -> None:
    existed = folder.exists
    folder.create(CONFIG)
    assert (existed, folder.exists) == (False, True)
    content = json.loads(folder.config_file.read_text())
    assert content["config"] == configs.to_dict(CONFIG)
    assert set(content) == {"config", "started", "versions", "machine", "commit"}
    assert set(content["versions"]) >= {"python", "gala-rl", "torch", "numpy", "ale-py"}
    assert content["machine"]["cores"] == usable_cores()
    assert folder.read_config() == CONFIG


def test_every_file_of_a_run_has_its_place_in_the_folder(folder: RunFolder) -> None:
    folder.create(CONFIG)
    for file in (folder.metrics_file(3), folder.log_file(3), folder.checkpoints):
        assert file.parent.is_dir()
        assert file.is_relative_to(folder.path)
    assert folder.metrics_file(3).name == "learner_03.jsonl"
    assert folder.log_file(12).name == "learner_12.log"


def test_a_topology_of_ones_own_goes_with_the_run(folder: RunFolder, tmp_path: Path) -> None:
    edges = tmp_path / "edges.json"
    edges.write_text("[[0, 1], [1, 0]]")
    folder.create(replace(CONFIG, gossip=GossipSettings(topology=str(edges), when="any")))
    edges.unlink()
    moved = RunFolder(folder.path.rename(tmp_path / "moved"))
    gossip = moved.read_config().gossip
    assert Path(gossip.topology_name).read_text() == "[[0, 1], [1, 0]]"
    assert gossip.when == "any"


def test_a_run_is_trained_by_one_process_at_a_time(folder: RunFolder) -> None:
    folder.create(CONFIG)
    folder.check_unlocked()
    assert not folder.lock_file.exists(), "nothing is written by looking"
    for _ in range(2):
        with folder.lock():
            with pytest.raises(UserError, match="is being trained by another process"):
                folder.check_unlocked()
            with pytest.raises(UserError, match="stop it"), folder.lock():
                pass
        folder.check_unlocked()


def test_an_empty_folder_can_be_used(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.create(CONFIG)
    assert folder.exists


def test_a_folder_in_use_is_refused_with_the_way_to_continue(folder: RunFolder) -> None:
    folder.create(CONFIG)
    before = folder.config_file.read_bytes()
    with pytest.raises(UserError, match=f"already holds a run.*--resume --out {folder.path}"):
        folder.create(TrainConfig())
    (folder.checkpoints / "step_000000000400").mkdir()
    with pytest.raises(UserError, match=f"already holds a run.*gala resume {folder.path}"):
        folder.create(TrainConfig())
    assert folder.config_file.read_bytes() == before


def test_a_folder_with_other_files_is_refused_and_they_stay(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=f"{folder.path} is not empty"):
        folder.create(CONFIG)
    assert [p.name for p in folder.path.iterdir()] == ["thesis.txt"]
    assert (folder.path / "thesis.txt").read_text() == "precious"


def test_a_file_in_the_folders_place_is_refused_and_stays(folder: RunFolder) -> None:
    folder.path.parent.mkdir(parents=True)
    folder.path.write_text("precious")
    with pytest.raises(UserError, match=str(folder.path)):
        folder.create(CONFIG)
    assert folder.path.read_text() == "precious"


def test_a_place_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written in .*file"):
        RunFolder(tmp_path / "file" / "run").create(CONFIG)


def test_a_full_disk_is_a_users_mistake(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device"):
        folder.create(CONFIG)
    assert not folder.exists


def test_a_folder_without_a_run_is_no_run(folder: RunFolder) -> None:
    with pytest.raises(UserError, match=f"{folder.path} holds no run"):
        folder.read_config()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("", "cannot be read"),
        ("[]", "must hold a JSON object, not a list"),
        ("[" * 100_000, "cannot be read"),
        ('{"config": 5}', "must be an object of settings, not 5"),
        ('{"config": {"sneed": 1}}', "unknown setting 'sneed'"),
        ('{"config": {"gossip": {"sneed": 1}}}', "unknown setting gossip.'sneed'"),
        ('{"config": {"gossip": null}}', "gossip"),
        ('{"config": {"seed": "one"}}', "seed 'one' has the wrong type"),
        ('{"config": {"seed": true}}', "seed True has the wrong type"),
        ('{"config": {"gossip": {"deadline": NaN}}}', "gossip.deadline nan is not finite"),
        ('{"config": {"simulators": 0}}', "simulators 0 is too small"),
        ('{"config": {"device": "tpu"}}', "device 'tpu' is unknown"),
    ],
)
def test_a_config_that_cannot_be_used_is_a_users_mistake(
    folder: RunFolder, content: str, words: str
) -> None:
    folder.path.mkdir(parents=True)
    folder.config_file.write_text(content)
    with pytest.raises(UserError) as refusal:
        folder.read_config()
    assert words in str(refusal.value)


def test_a_resume_is_noted_beside_what_was_known(folder: RunFolder) -> None:
    folder.create(CONFIG)
    before = read_json(folder.config_file)
    longer = configs.from_dict(configs.to_dict(CONFIG) | {"steps": 50_000_000}, ALGORITHMS)
    folder.record_resume(longer)
    folder.record_resume(longer)
    after = read_json(folder.config_file)
    assert folder.read_config() == longer
    assert len(after["resumes"]) == 2
    assert [entry["changes"] for entry in after["resumes"]] == [
        {"steps": [CONFIG.steps, 50_000_000]},
        {},
    ]
    assert set(after["resumes"][0]) == {
        *("started", "versions", "machine", "commit"),
        *("agent_steps", "changes"),
    }
    assert {k: after[k] for k in before if k != "config"} == {
        k: v for k, v in before.items() if k != "config"
    }


def test_the_newest_checkpoint_is_known_by_name(folder: RunFolder) -> None:
    folder.create(CONFIG)
    assert folder.checkpointed_agent_steps() is None
    for name in ("step_000000000900", "step_000000010000", ".partial-7"):
        (folder.checkpoints / name).mkdir()
    assert folder.checkpointed_agent_steps() == 10_000


def test_a_run_that_has_not_ended_has_an_empty_summary(folder: RunFolder) -> None:
    folder.create(CONFIG)
    assert folder.read_summary() == {}
    write_json(folder.summary_file, {"mean_return": 3.5})
    assert folder.read_summary() == {"mean_return": 3.5}


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"new": float("inf")})
    assert read_json(path) == {"old": 1}
    write_json(path, {"new": 2})
    assert read_json(path) == {"new": 2}
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".json"] == ["summary.json"]


def test_the_commit_of_a_source_tree_is_known_and_elsewhere_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "gala_rl" / "records" / "x.py"))
    assert provenance.provenance()["commit"] is None
    (tmp_path / ".git").mkdir()  # git itself does not take this for a repository
    assert provenance.provenance()["commit"] is None


def test_changes_of_the_number_of_learners_are_noted_and_the_last_one_counts(
    folder: RunFolder,
) -> None:
    folder.create(CONFIG)
    before = read_json(folder.config_file)
    assert folder.read_scales() == []
    folder.record_scale(2, 4, 1_000, capacity=6)
    folder.record_scale(4, 1, 2_000, capacity=6)
    assert [(c["from"], c["to"], c["agent_steps"]) for c in folder.read_scales()] == [
        (2, 4, 1_000),
        (4, 1, 2_000),
    ]
    config = folder.read_config()
    assert config == replace(CONFIG, learners=1, max_learners=6)
    assert folder.max_learners_so_far(config) == 4
    after = read_json(folder.config_file)
    assert {k: after[k] for k in before if k != "config"} == {
        k: v for k, v in before.items() if k != "config"
    }


def test_whether_a_run_is_trained_can_be_seen_from_outside(folder: RunFolder) -> None:
    folder.create(CONFIG)
    seen = [folder.is_locked]
    with folder.lock():
        seen.append(folder.is_locked)
    assert [*seen, folder.is_locked] == [False, True, False]
