"""Tampered checkpoints with valid checksums: rejected with one clear error, or sound."""

import contextlib
import hashlib
import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gala_lab.main import main
from gala_rl.agent import initial_parameters_of
from gala_rl.app.policies import parameters_of
from gala_rl.checks.checkpoint import check_checkpoint
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.gossip import MemoryNetwork
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records import checkpoint
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.learner_run import LearnerRun
from gala_rl.run.serial import run_serial
from tests.fuzz.mutate import both, spoiled_bytes, spoiled_json

CPU = torch.device("cpu")
BASE = TrainConfig(
    env="tests.environments:Drifting-v0", simulators=2, learners=2, serial=True, steps=40
)
PPO = PPOSettings(rollout_steps=8, minibatches=2, epochs=1, normalize_rewards=True)
CONFIGS = {
    name: resolve(config)
    for name, config in {
        "gala-a2c": replace(BASE, method="gala-a2c"),
        "gala-ppo": replace(BASE, method="gala-ppo", steps=512, lstm_size=4, algorithm=PPO),
        "a3c": replace(BASE, method="a3c"),
    }.items()
}


def train(path: Path, config: ResolvedConfig) -> RunFolder:
    folder = RunFolder(path)
    folder.create(config)
    run_serial(config, folder, CPU, initial_parameters_of(config), None, lambda status: None)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A small finished run of each kind; read-only."""
    place = tmp_path_factory.mktemp("runs")
    return {name: train(place / name, config) for name, config in CONFIGS.items()}


def spoil(folder: Path, chance: random.Random) -> None:
    """Spoil a file of a checkpoint; half the time its checksum is made right again."""
    file = chance.choice(sorted(folder.iterdir()))
    content = file.read_bytes()
    if file.suffix == ".json":
        file.write_bytes(spoiled_json(content, chance))
    else:
        file.write_bytes(spoiled_tensors(content, chance))
    if file.name != "manifest.json" and chance.random() < 0.9:
        sign(folder)


def sign(folder: Path) -> None:
    """Make every checksum valid, as a program that can write the files could."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name in manifest["sha256"]:
        manifest["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def spoiled_tensors(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file with another header, other numbers, or other bytes anywhere."""
    length = int.from_bytes(content[:8], "little")
    header, numbers = content[8 : 8 + length], bytearray(content[8 + length :])
    kind = chance.randrange(4)
    if kind == 0:
        return spoiled_bytes(content, chance)
    if kind == 1:
        return chance.choice([0, 1, 2**31, 2**63, 2**64 - 1]).to_bytes(8, "little") + content[8:]
    if kind == 2:
        header = spoiled_json(header, chance)
    else:
        for _ in range(chance.choice([1, 20])):
            place = chance.randrange(len(numbers) // 4) * 4
            odd = chance.choice(
                [b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\xff" * 4, chance.randbytes(4)]
            )
            numbers[place : place + 4] = odd
    return len(header).to_bytes(8, "little") + header + bytes(numbers)


def use(path: Path, config: ResolvedConfig) -> None:
    """What resuming and evaluating do with a checkpoint, and an update after it."""
    size = initial_parameters_of(config).parameters.numel()
    saved = checkpoint.open_checkpoint(path)
    for who in ("mean", "all", "0"):
        assert all(torch.isfinite(v).all() for v in parameters_of(saved, who, size).values())
    check_checkpoint(saved, config, size, CPU)
    if config.method == "a3c":
        return
    network = MemoryNetwork(2)
    for rank in saved.learners():
        folder = RunFolder(path.parent.parent)
        run = LearnerRun(config, rank, network.transport(rank), CPU, folder)
        try:
            run.restore(saved)
            # Finite numbers may still be so large that the learner ends loudly, as it should.
            with contextlib.suppress(FloatingPointError):
                run.advance(0)
                run.write_row(0)
                assert torch.isfinite(run.agent.learner.flat.values).all()
        finally:
            run.close()


@both(100, 5_000)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_checkpoint_with_anything_in_it_is_refused_or_sound(
    runs: dict[str, RunFolder], tmp_path: Path, name: str, seed: int, inputs: int
) -> None:
    torch.set_num_threads(1)
    chance = random.Random(f"{name} {seed}")
    source = next(runs[name].checkpoints.iterdir())
    refused = 0
    (tmp_path / "metrics").mkdir()
    for _ in range(inputs):
        path = tmp_path / "checkpoints" / source.name
        shutil.copytree(source, path)
        spoil(path, chance)
        try:
            use(path, CONFIGS[name])
        except UserError:
            refused += 1
        shutil.rmtree(path)
    assert inputs / 2 < refused < inputs


@both(4, 150)
def test_resuming_and_evaluating_end_in_one_line(
    runs: dict[str, RunFolder],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    seed: int,
    inputs: int,
) -> None:
    chance = random.Random(f"command line {seed}")
    for number in range(inputs):
        run = tmp_path / str(number)
        shutil.copytree(runs["gala-a2c"].path, run)
        spoil(next((run / "checkpoints").iterdir()), chance)
        for arguments in (
            ["evaluate", str(run), "--episodes", "1"],
            ["resume", str(run), "--steps", "60"],
        ):
            code = main(arguments)
            told = capsys.readouterr().err.splitlines()
            assert code == 0 or (code == 2 and len(told) <= 2 and told[-1].startswith("gala: "))


def folder_with(tmp_path: Path, runs: dict[str, RunFolder]) -> Path:
    return Path(shutil.copytree(next(runs["gala-a2c"].checkpoints.iterdir()), tmp_path / "step"))


@pytest.mark.parametrize("name", ["manifest.json", "learner_00.json", "learner_01.safetensors"])
@pytest.mark.parametrize("kind", ["link", "endless", "pipe"])
def test_what_is_no_plain_file_is_refused_at_once(
    runs: dict[str, RunFolder], tmp_path: Path, name: str, kind: str
) -> None:
    folder = folder_with(tmp_path, runs)
    file = folder / name
    target = file.rename(tmp_path / name)
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(target if kind == "link" else "/dev/zero")
    with pytest.raises(UserError, match=rf"is damaged: {name} is not a plain file"):
        checkpoint.open_checkpoint(folder)
