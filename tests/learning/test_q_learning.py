"""CartPole is learned to the end from replay; what must be remembered by a recurrent network."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gala_rl.app.evaluate import evaluate
from gala_rl.app.train import train
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import with_settings

SUITS = "popgym:popgym-RepeatPreviousEasy-v0"
"""Pays for the suit of the card that was shown three steps ago; by chance, a game has -0.5."""


def learn(
    path: Path,
    method: str,
    env: str,
    *,
    steps: int,
    seed: int = 0,
    lstm_size: int | None = None,
    **settings: Any,
) -> float:
    """Mean return of greedy games after training with the method's preset and these settings."""
    config = TrainConfig(
        method=method,
        env=env,
        steps=steps,
        seed=seed,
        lstm_size=lstm_size,
        device="cpu",
        serial=True,
        out=str(path),
    )
    train(with_settings(config, settings), Console(file=io.StringIO()))
    score: float = evaluate(path, episodes=20)["results"][0]["mean_return"]
    return score


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_dqn_solves_cartpole(tmp_path: Path) -> None:
    assert learn(tmp_path / "run", "dqn", "CartPole-v1", steps=150_000) >= 475


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_velocities_are_remembered(tmp_path: Path) -> None:
    hidden = "tests.environments:CartPoleWithoutVelocities-v0"
    assert learn(tmp_path / "run", "r2d2", hidden, steps=200_000) >= 450


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_velocities_are_not_known_without_memory(tmp_path: Path) -> None:
    hidden = "tests.environments:CartPoleWithoutVelocities-v0"
    assert learn(tmp_path / "run", "r2d2", hidden, steps=60_000, lstm_size=0) < 200


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seed", range(5))
def test_suits_are_remembered_with_every_seed(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("popgym")
    settings: dict[str, Any] = {"n_step": 1, "discount": 0.5, "learning_rate": 2e-3}
    run = tmp_path / "run"
    assert learn(run, "r2d2", SUITS, steps=40_000, seed=seed, **settings) >= 0.8
    run = tmp_path / "without"
    assert learn(run, "r2d2", SUITS, steps=40_000, seed=seed, lstm_size=0, **settings) < -0.3
