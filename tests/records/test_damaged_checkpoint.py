"""Every kind of damage to a checkpoint is noticed, and the one before is used."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gala_rl.errors import UserError
from gala_rl.records import checkpoint
from tests.support.checkpoints import names, newest, save


def edit_manifest(folder: Path, **changes: Any) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def flip_a_byte(folder: Path) -> None:
    file = folder / "learner_01.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def change_a_counter(folder: Path) -> None:
    (folder / "learner_00.json").write_text('{"updates": 8}')


def lose_a_file(folder: Path) -> None:
    (folder / "learner_01.safetensors").unlink()


def lose_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_the_manifest(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(file.read_text()[:-40])


def empty_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"")


def garble_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x00\x01")


def make_the_manifest_a_list(folder: Path) -> None:
    (folder / "manifest.json").write_text("[1, 2]")


def forget_the_checksums(folder: Path) -> None:
    edit_manifest(folder, sha256={})


def forget_a_learners_checksum(folder: Path) -> None:
    sums = json.loads((folder / "manifest.json").read_text())["sha256"]
    del sums["learner_01.json"]
    edit_manifest(folder, sha256=sums)


def name_no_learners(folder: Path) -> None:
    edit_manifest(folder, learners=None)


def claim_another_learner(folder: Path) -> None:
    edit_manifest(folder, learners=["00", "01", "02"])


def give_no_agent_steps(folder: Path) -> None:
    edit_manifest(folder, agent_steps=None)


DAMAGES = (
    flip_a_byte,
    change_a_counter,
    lose_a_file,
    lose_the_manifest,
    cut_the_manifest,
    empty_the_manifest,
    garble_the_manifest,
    make_the_manifest_a_list,
    forget_the_checksums,
    forget_a_learners_checksum,
    name_no_learners,
    claim_another_learner,
    give_no_agent_steps,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_and_the_one_before_is_used(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 100)
    damaged = save(tmp_path, 200)
    damage(damaged)
    with pytest.raises(UserError, match=rf"{damaged.name} is damaged"):
        checkpoint.open_checkpoint(damaged)
    assert newest(tmp_path).agent_steps == 100
    assert damaged.name in caplog.text


def test_another_format_is_refused_by_its_number(tmp_path: Path) -> None:
    folder = save(tmp_path, 100)
    edit_manifest(folder, format=2)
    with pytest.raises(UserError, match="has format 2, this version reads 1"):
        checkpoint.open_checkpoint(folder)


@pytest.mark.parametrize("absolute", [False, True])
def test_a_manifest_cannot_name_a_file_elsewhere(tmp_path: Path, absolute: bool) -> None:
    folder = save(tmp_path / "checkpoints", 100)
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    name = str(outside) if absolute else "../../outside"
    sums = json.loads((folder / "manifest.json").read_text())["sha256"]
    right = hashlib.sha256(b"secret").hexdigest()
    edit_manifest(folder, sha256=sums | {name: right})
    with pytest.raises(UserError, match="outside"):
        checkpoint.open_checkpoint(folder)


def test_there_being_only_damaged_ones_is_an_error_that_names_the_damage(tmp_path: Path) -> None:
    for agent_steps in (100, 200):
        lose_a_file(save(tmp_path, agent_steps))
    with pytest.raises(UserError, match=r"is whole: .*learner_01\.safetensors"):
        checkpoint.newest(tmp_path)


def test_a_damaged_checkpoint_is_replaced_by_one_of_as_many_steps(tmp_path: Path) -> None:
    folder = save(tmp_path, 100)
    (folder / "learner_00.safetensors").write_bytes(b"damaged")
    save(tmp_path, 100)
    assert newest(tmp_path).load(0).tensors["parameters"][0] == 100
    assert names(tmp_path) == ["step_000000000100"]


def test_damaged_checkpoints_do_not_count_among_those_that_are_kept(tmp_path: Path) -> None:
    for agent_steps in (100, 200, 300):
        save(tmp_path, agent_steps, kept=2)
    lose_a_file(tmp_path / "step_000000000300")
    save(tmp_path, 400, kept=2)
    whole = ["step_000000000200", "step_000000000400"]
    assert names(tmp_path) == [whole[0], "step_000000000300", whole[1]]
    for agent_steps in (500, 600):
        save(tmp_path, agent_steps, kept=2)
    assert names(tmp_path) == ["step_000000000500", "step_000000000600"]


def test_after_a_fall_back_the_checkpoint_that_was_used_stays(tmp_path: Path) -> None:
    for agent_steps in (100, 800):
        save(tmp_path, agent_steps, kept=1)
    flip_a_byte(save(tmp_path, 900, kept=2))
    assert newest(tmp_path).agent_steps == 800
    save(tmp_path, 850, kept=1)
    assert newest(tmp_path).agent_steps == 850
