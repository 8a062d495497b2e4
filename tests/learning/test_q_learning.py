"""CartPole is learned to the end from replay; without velocities by a recurrent network."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from gala_rl.app.evaluate import evaluate
from gala_rl.app.train import train
from gala_rl.config.train import TrainConfig


def learn(path: Path, method: str, env: str, *, steps: int, lstm_size: int | None = None) -> float:
    """Mean return of greedy games after training with the method's preset."""
    config = TrainConfig(
        method=method,
        env=env,
        steps=steps,
        lstm_size=lstm_size,
        device="cpu",
        serial=True,
        out=str(path),
    )
    train(config, Console(file=io.StringIO()))
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
