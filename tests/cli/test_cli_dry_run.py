"""`gala train --dry-run` checks as training does, shows the run, and leaves nothing behind."""

import json
from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from gala_rl.config.train import from_dict, to_dict
from gala_rl.methods import ALGORITHMS
from gala_rl.methods.resolving import resolve

SMALL = ["--env", "CartPole-v1", "--steps", "16k", "--learners", "2", "--simulators", "4"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["train", *arguments, "--dry-run", "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_it_shows_what_training_would_do(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.config.resolved.usable_cores", lambda: 2)
    run = shown(capsys, "gala-a2c", *SMALL, "--seed", "3", "--discount", "0.9", "--out", "here")
    assert (run["method"], run["env"]) == ("gala-a2c", "CartPole-v1")
    assert (run["observation"], run["actions"], run["kind"]) == ([4], 2, "discrete")
    assert (run["learners"], run["simulators"], run["update_agent_steps"]) == (2, 4, 20)
    assert (run["steps"], run["updates"]) == (16_000, 400)
    assert run["initial_learning_rate"] == pytest.approx(7e-4 * 2 * (4 / 16) ** 0.5)
    assert run["parameters"] == 9_155
    assert run["threads"] == {"acting": 1, "learning": 1, "simulators": 1}
    assert run["least_memory_bytes"] > 2 * 150 * 2**20
    assert run["shared_memory_bytes"] > 4 * 5 * 4 * 9_155
    assert run["replay_bytes"] == 0
    assert run["folder"] == "here"
    config = from_dict(run["config"], ALGORITHMS)
    assert to_dict(resolve(config)) == run["config"], "all settings are resolved"
    assert list(folder.iterdir()) == []


def test_settings_that_differ_from_the_defaults_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gala_rl.methods.resolving.usable_cores", lambda: 2)
    assert shown(capsys, "ppo", "--env", "MountainCar-v0")["changed"] == []
    arguments = ["--env", "MountainCar-v0", "--epochs", "3", "--topology", "complete", "--seed=0"]
    assert shown(capsys, "gala-ppo", *arguments)["changed"] == [
        {"name": "algorithm.epochs", "value": 3, "default": 10},
        {"name": "gossip.topology", "value": "complete", "default": "directed-ring"},
    ]


def test_a_replay_takes_memory(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["dqn", "--env", "CartPole-v1", "--actors", "1"]
    smaller, larger = (shown(capsys, *arguments, "--replay-size", size) for size in ("50k", "100k"))
    assert 0 < 1.9 * smaller["replay_bytes"] < larger["replay_bytes"]
    grown = larger["least_memory_bytes"] - smaller["least_memory_bytes"]
    assert grown == larger["replay_bytes"] - smaller["replay_bytes"]


def test_the_table_has_every_number_and_change(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "ppo", "--env", "Pendulum-v1", "--steps", "200k", "--epochs", "3"]
    assert main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    for text in (
        "ppo: proximal policy optimisation",
        "Pendulum-v1: observation [3], 1 continuous action",
        "1 learner x ",
        "linearly to 0",
        "epochs 3 (default 10)",
        "runs/ppo-Pendulum-v1-",
    ):
        assert text in printed
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json"], "--json is for --dry-run"),
        (["--dry-run", "--resume", "--out", "x"], "leave --resume out"),
        (["--dry-run", "--learners", "2"], "ppo has one learner"),
        (["--dry-run", "--device", "cuda"], "device 'cuda' is not there"),
        (["--dry-run", "--env", "CartPol-v1"], "CartPol"),
        (["--dry-run", "--out", "used"], "is not empty"),
    ],
)
def test_mistakes_are_those_of_a_start(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("gala_rl.checks.machine.cuda_devices", lambda: 0)
    (folder / "used").mkdir()
    (folder / "used" / "file").touch()
    assert main(["train", "ppo", "--env", "CartPole-v1", *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_too_little_shared_memory_is_seen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        f_bavail, f_frsize = 1, 4096

    monkeypatch.setattr("gala_rl.checks.shared_memory.os.statvfs", lambda _: Full)
    assert main(["train", "gala-a2c", *SMALL, "--dry-run"]) == 2
    assert "of shared memory" in capsys.readouterr().err


def test_the_preset_of_the_environment_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    preset = shown(capsys, "gala-ppo", "--env", "Pendulum-v1", "--learners", "2")["preset"]
    assert (preset["steps"], preset["simulators"]) == (200_000, 4)
    assert preset["algorithm.discount"] == 0.9
    run = shown(capsys, "ppo", "--env", "Pendulum-v1", "--discount", "0.5")
    assert "algorithm.discount" not in run["preset"]
    assert run["changed"] == [{"name": "algorithm.discount", "value": 0.5, "default": 0.9}]
    assert shown(capsys, "ppo", "--env", "MountainCar-v0")["preset"] == {}
    assert main(["train", "ppo", "--env", "Pendulum-v1", "--dry-run"]) == 0
    assert "learning_rate 0.001" in " ".join(capsys.readouterr().out.split())
