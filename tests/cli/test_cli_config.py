"""`--config`: the command line counts more than the file, and the file more than the method."""

from pathlib import Path
from typing import Any

import pytest

from gala_lab.main import main
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.methods.ppo import PPOSettings
from gala_rl.methods.resolving import resolve
from gala_rl.records.run_folder import RunFolder
from tests.cli.test_cli import SUMMARY

TOML = """
method = "ppo"
env = "CartPole-v1"
seed = 3
epochs = 5
[algorithm]
clip_range = 0.3
"""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ResolvedConfig]:
    """Configs that training was called with, in place of training."""
    configs: list[ResolvedConfig] = []

    def note(config: ResolvedConfig, *_: Any) -> dict[str, Any]:
        configs.append(config)
        return SUMMARY

    monkeypatch.chdir(tmp_path)
    Path("settings.toml").write_text(TOML, encoding="utf-8")
    monkeypatch.setattr("gala_rl.app.train.train_checked", note)
    return configs


def ppo(config: ResolvedConfig) -> PPOSettings:
    assert isinstance(config.algorithm, PPOSettings)
    return config.algorithm


def test_a_file_says_all_that_is_needed(trained: list[ResolvedConfig]) -> None:
    assert main(["train", "--config", "settings.toml"]) == 0
    (config,) = trained
    assert (config.method, config.seed) == ("ppo", 3)
    assert (ppo(config).epochs, ppo(config).clip_range) == (5, 0.3)
    assert ppo(config).learning_rate == 1e-3, "the method's own"


def test_the_command_line_counts_more(trained: list[ResolvedConfig]) -> None:
    arguments = ["train", "gala-ppo", "--config", "settings.toml", "--epochs", "2", "--seed", "4"]
    assert main([*arguments, "--learners", "3"]) == 0
    (config,) = trained
    assert (config.method, config.seed, config.learners) == ("gala-ppo", 4, 3)
    assert (ppo(config).epochs, ppo(config).clip_range) == (2, 0.3)


def test_a_run_can_be_repeated_and_changed(trained: list[ResolvedConfig]) -> None:
    config = TrainConfig(method="ppo", env="CartPole-v1", seed=5, out="runs/first")
    first = resolve(config, {"epochs": 7, "clip_range": 0.4})
    RunFolder(Path("runs/first")).create(first)
    assert main(["train", "--config", "runs/first", "--out", "runs/second"]) == 0
    assert main(["train", "--config", "runs/first/config.json", "--epochs", "2"]) == 0
    again, changed = trained
    assert (again.seed, again.out, changed.out) == (5, "runs/second", None)
    assert again.algorithm == first.algorithm
    assert (ppo(changed).epochs, ppo(changed).clip_range) == (2, 0.4)


def test_settings_of_another_algorithm_are_refused(
    trained: list[ResolvedConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig(method="ppo", env="CartPole-v1", out="runs/first")
    RunFolder(Path("runs/first")).create(resolve(config))
    assert main(["train", "a2c", "--config", "runs/first"]) == 2
    line = capsys.readouterr().err
    assert "method a2c has no use for the settings of ppo in runs/first" in line
    assert main(["train", "a2c", "--config", "settings.toml"]) == 2
    assert "epochs is not a setting of a2c" in capsys.readouterr().err
    assert trained == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede = 3", "settings.toml, line 1: setting sede is unknown: did you mean seed?"),
        ("seed = 3", "METHOD is missing"),
        ("method = 'pppo'", "method 'pppo' is unknown: did you mean ppo?"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(
    trained: list[ResolvedConfig], capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    Path("settings.toml").write_text(text, encoding="utf-8")
    assert main(["train", "--config", "settings.toml"]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert trained == []


def test_a_comparison_takes_a_file_too(
    trained: list[ResolvedConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plans: list[Any] = []

    def note(plan: Any, _: Any) -> bool:
        plans.append(plan)
        return True

    monkeypatch.setattr("gala_lab.compare.run_schedule.train_all", note)
    arguments = ["compare", "a2c", "ppo", "--out", "both", "--config", "settings.toml"]
    assert main(arguments) == 2
    assert "settings.toml gives method, which this command does not take" in capsys.readouterr().err
    text = "env = 'CartPole-v1'\ndiscount = 0.5\nepochs = 5\nsteps = 4000"
    Path("settings.toml").write_text(text, encoding="utf-8")
    assert main([*arguments, "--steps", "5000"]) == 130
    a2c, own = plans[0].configs
    assert (a2c.steps, own.steps) == (5000, 5000)
    assert (a2c.algorithm.discount, own.algorithm.discount, own.algorithm.epochs) == (0.5, 0.5, 5)
