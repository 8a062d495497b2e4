"""What must be remembered is learned with an LSTM, and cannot be learned without."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gala_rl.app.evaluate import evaluate
from gala_rl.app.train import train
from gala_rl.config.settings import AlgorithmSettings
from gala_rl.config.train import TrainConfig
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.impala import ImpalaSettings
from gala_rl.methods.ppo import PPOSettings

A2C = A2CSettings(
    rollout_steps=12,
    learning_rate=5e-3,
    learning_rate_rule="constant",
    learning_rate_schedule="linear",
)
PPO = PPOSettings(rollout_steps=24, learning_rate=5e-3, minibatches=2, clip_range=0.2)
IMPALA = ImpalaSettings(rollout_steps=12, learning_rate=5e-3)
METHODS: dict[str, tuple[AlgorithmSettings, int]] = {
    "a2c": (A2C, 1),
    "gala-a2c": (A2C, 2),
    "ppo": (PPO, 1),
    "gala-ppo": (PPO, 2),
    "impala": (IMPALA, 1),
    "gala-impala": (IMPALA, 2),
}
"""Settings and number of learners of each method."""


def learn(path: Path, method: str, **changes: Any) -> float:
    """Mean return of games that are played after training; one half is chance."""
    options: dict[str, Any] = {"env": "Recall-v0", "steps": 60_000} | changes
    algorithm, learners = METHODS[method]
    given = {n: options[n] for n in ("rollout_steps", "learning_rate") if n in options}
    config = TrainConfig(
        method=method,
        env=f"tests.environments:{options['env']}",
        learners=learners,
        simulators=16 // learners,
        steps=options["steps"],
        seed=options.get("seed", 0),
        lstm_size=options.get("lstm_size"),
        device="cpu",
        serial=options.get("serial", False),
        out=str(path),
        algorithm=replace(algorithm, **given),
    )
    train(config, Console(file=io.StringIO()))
    score: float = evaluate(path, episodes=200)["results"][0]["mean_return"]
    return score


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        ("gala-a2c", 40_000),
        *(pytest.param(m, 60_000, marks=pytest.mark.slow) for m in ("gala-ppo", "gala-impala")),
    ],
)
def test_a_cue_is_remembered_with_an_lstm(tmp_path: Path, method: str, steps: int) -> None:
    assert learn(tmp_path / "run", method, steps=steps, lstm_size=32) > 0.95


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        ("a2c", 40_000),
        *(pytest.param(m, 60_000, marks=pytest.mark.slow) for m in METHODS if m != "a2c"),
    ],
)
def test_a_cue_cannot_be_remembered_without(tmp_path: Path, method: str, steps: int) -> None:
    # Five standard errors of 200 games by chance.
    assert abs(learn(tmp_path / "run", method, steps=steps) - 0.5) < 5 * 0.5 / 200**0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_cue_is_remembered_with_every_seed(tmp_path: Path, method: str, serial: bool) -> None:
    for seed in range(5):
        run = tmp_path / str(seed)
        assert learn(run, method, lstm_size=32, seed=seed, serial=serial) > 0.95, seed


@pytest.mark.slow
def test_pictures_numbers_and_several_actions_are_learned_together(tmp_path: Path) -> None:
    """One quarter and one sixth are chance; the whole picture and the number are needed for 1."""
    score = learn(
        tmp_path / "run",
        "a2c",
        env="Parts-v0",
        steps=15_000,
        rollout_steps=5,
        learning_rate=1e-3,
    )
    assert score > 0.9
