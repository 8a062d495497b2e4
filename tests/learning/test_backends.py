"""Environments of other backends are learned, by the settings that the documents name."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gala_rl.app.train import train
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import with_settings

TASKS = [
    pytest.param(
        TrainConfig(method="gala-a2c", env="gym-vec:CartPole-v1", learners=2, simulators=64),
        1_000_000,
        {
            "rollout_steps": 16,
            "learning_rate": 8e-3,
            "learning_rate_rule": "constant",
            "learning_rate_schedule": "linear",
            "entropy_cost": 0.0,
        },
        475.0,
        id="cartpole",
    ),
    pytest.param(
        TrainConfig(method="ppo", env="envpool:Pendulum-v1", simulators=8),
        200_000,
        {
            "rollout_steps": 256,
            "epochs": 10,
            "minibatches": 16,
            "discount": 0.9,
            "learning_rate": 1e-3,
            "entropy_cost": 0.0,
            "clip_range": 0.2,
        },
        -300.0,  # Random play has -1,200.
        marks=pytest.mark.backends,
        id="pendulum",
    ),
    pytest.param(
        TrainConfig(method="a2c", env="pgx:minatar-breakout", simulators=64),
        3_000_000,
        {"rollout_steps": 16, "learning_rate": 1e-3},
        10.0,  # Random play has 0.3.
        marks=pytest.mark.backends,
        id="breakout",
    ),
]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("config", "steps", "settings", "score"), TASKS)
def test_it_is_learned_with_one_of_two_seeds(
    config: TrainConfig, steps: int, settings: dict[str, Any], score: float, tmp_path: Path
) -> None:
    config = with_settings(replace(config, steps=steps), settings)
    returns: list[float] = []
    for seed in range(2):
        run = replace(config, seed=seed, out=str(tmp_path / str(seed)))
        returns.append(train(run, Console(file=io.StringIO()))["mean_return"])
        if returns[-1] >= score:
            return
    pytest.fail(f"mean returns of the last 100 games: {returns}")
