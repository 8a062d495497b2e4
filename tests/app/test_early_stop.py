"""Runs end at a score or without progress, and go on with what the user changes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gala_lab.main import main
from gala_rl.app.early_stop import why_stop
from gala_rl.app.train import resume, train
from gala_rl.config.changes import CHANGEABLE, changed
from gala_rl.config.train import TrainConfig
from gala_rl.errors import UserError
from gala_rl.methods import ALGORITHMS
from gala_rl.methods.ppo import PPOSettings
from gala_rl.records.files import read_json
from gala_rl.records.metrics import BestMean, RecentGames
from gala_rl.records.run_folder import RunFolder
from tests.support.run_records import newest

QUIET = Console(quiet=True)
SCORE = 28.0
"""Return of each of its games, of seven steps."""
CONFIG = TrainConfig(
    method="a2c",
    env="tests.environments:Counting-v0",
    simulators=2,
    log_every=2,
    steps=10**9,
    serial=True,
)


def means(*values: tuple[int, float]) -> BestMean:
    """Best of means at agent steps, each of 100 games."""
    best = BestMean()
    for agent_steps, mean in values:
        games = RecentGames()
        games.count, games.mean = 100, mean
        best.update(games, agent_steps)
    return best


def test_no_rule_holds_before_a_hundred_games_have_ended() -> None:
    games, best = RecentGames(), BestMean()
    games.count, games.mean = 99, 500.0
    best.update(games, 1_000_000)
    assert why_stop(TrainConfig(stop_at=1.0, patience=1), best) is None
    games.count = 100
    best.update(games, 1_000_001)
    assert "has reached 1" in str(why_stop(TrainConfig(stop_at=1.0), best))


def test_a_score_is_reached_by_the_newest_mean() -> None:
    config = TrainConfig(stop_at=475.0)
    assert why_stop(config, means((1, 474.9))) is None
    assert why_stop(config, means((1, 475.0))) is not None
    assert why_stop(config, means((1, 480.0), (2, 470.0))) is None


def test_patience_counts_from_the_best_mean() -> None:
    config = TrainConfig(patience=100)
    assert why_stop(config, means((50, 1.0), (149, 1.0))) is None
    assert why_stop(config, means((50, 1.0), (150, 1.0))) == (
        "patience: the best mean return of 100 games, 1.00, is 100 agent steps old"
    )
    assert why_stop(config, means((50, 1.0), (140, 1.1), (200, 0.5))) is None


@pytest.mark.parametrize("rule", [{"stop_at": SCORE}, {"patience": 500}])
def test_a_run_that_stopped_early_goes_on_with_another_rule_only(
    rule: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    summary = train(replace(CONFIG, out=str(run), **rule), QUIET)
    (name,) = rule
    assert summary["stopped_because"].startswith(f"{name}: ")
    assert not summary["interrupted"]
    assert not summary["failed"]
    made = summary["agent_steps"]
    assert newest(RunFolder(run)).agent_steps == made
    if name == "patience":
        assert made >= 500

    option = f"--{name.replace('_', '-')}"
    for again in ([], [option, str(rule[name])], ["--steps", "2G"]):
        assert main(["resume", str(run), *again]) == 2
        assert f"is complete: it has stopped early ({name}: " in capsys.readouterr().err
    assert main(["resume", str(run), option, "none", "--steps", str(made + 40)]) == 0
    assert read_json(run / "summary.json")["stopped_because"] is None
    (entry,) = read_json(run / "config.json")["resumes"]
    assert entry["agent_steps"] == made
    assert entry["changes"] == {name: [rule[name], None], "steps": [10**9, made + 40]}


def test_the_terminal_tells_why_a_run_has_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--simulators", "2", "--log-every", "2", "--serial", "--stop-at", str(SCORE)]
    run = str(tmp_path / "run")
    assert main(["train", "a2c", "--env", str(CONFIG.env), *options, "--out", run]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "stopping: stop_at: the mean return of the last 100 games, 28.0, has reached 28" in lines
    assert lines[-1] == f"next: gala evaluate {run}"


def test_a_resumed_run_learns_with_what_was_changed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(replace(CONFIG, steps=80, out=str(run)), QUIET)
    resume(run, 160, QUIET, changes={"learning_rate": 1e-5, "learning_rate_schedule": "constant"})
    rows = [json.loads(line) for line in RunFolder(run).metrics_file(0).read_text().splitlines()]
    before, after = (
        [r for r in rows if r["agent_steps"] <= 80],
        [r for r in rows if r["agent_steps"] > 80],
    )
    assert {row["learning_rate"] for row in before}.isdisjoint(r["learning_rate"] for r in after)
    config = RunFolder(run).read_config()
    assert config.algorithm is not None
    assert config.algorithm.learning_rate == 1e-5
    (entry,) = read_json(run / "config.json")["resumes"]
    assert entry["changes"]["algorithm.learning_rate"][1] == 1e-5
    assert entry["changes"]["steps"] == [80, 160]
    assert len(entry["changes"]) == 2


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("env", "Acrobot-v1", "env cannot change when a run is resumed: its scores are those of"),
        ("learners", 3, "learners cannot change when a run is resumed: gala scale changes"),
        ("lstm_size", 8, "lstm_size cannot change when a run is resumed: its checkpoints are of"),
        ("discount", 0.5, "discount cannot change when a run is resumed: it is fixed when a run"),
        ("nonsense", 0.5, "nonsense cannot change when a run is resumed"),
        ("clip_rho", 2.0, "clip_rho is not a setting of the run's method, ppo"),
        ("learning_rate", -1.0, "algorithm.learning_rate -1.0 is too small"),
        ("learning_rate", "fast", "algorithm.learning_rate 'fast' has the wrong type"),
        ("max_staleness", -1, "gossip.max_staleness -1 is too small"),
        ("patience", 0, "patience 0 is too small"),
    ],
)
def test_other_settings_are_refused_in_one_line(name: str, value: Any, line: str) -> None:
    config = TrainConfig(method="ppo", algorithm=PPOSettings())
    with pytest.raises(UserError) as refused:
        changed(config, {name: value})
    assert line in str(refused.value)


def test_every_changeable_setting_exists() -> None:
    for name in CHANGEABLE:
        group, _, setting = name.rpartition(".")
        owners: list[Any] = [TrainConfig() if not group else getattr(TrainConfig(), group)]
        if group == "algorithm":
            owners = list(ALGORITHMS.values())
        assert any(hasattr(owner, setting) for owner in owners), name


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--env=Acrobot-v1", "option --env cannot change when a run is resumed: its scores are"),
        ("--no-normalize-rewards", "option --no-normalize-rewards cannot change when"),
        ("--image-size=40", "option --image-size cannot change when a run is resumed"),
        ("--learning-rat=1", "option --learning-rat is unknown: did you mean --learning-rate?"),
    ],
)
def test_options_that_cannot_change_are_named_at_the_terminal(
    option: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", "run", option]) == 2
    assert capsys.readouterr().err.startswith(f"gala: {line}")
