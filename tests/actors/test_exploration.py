"""ε of simulators: a ladder over those of all learners, or one that falls with the run."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from gala_rl.actors.exploration import epsilons_of
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import TrainConfig
from gala_rl.methods.resolving import resolve, with_settings
from gala_rl.models.exploration import epsilon_ladder


def config_of(**settings: Any) -> ResolvedConfig:
    config = TrainConfig(method="gala-dqn", env="CartPole-v1", learners=2, simulators=3, steps=1000)
    return resolve(with_settings(config, settings))


def epsilons(config: ResolvedConfig, rank: int, simulators: range, steps: int) -> torch.Tensor:
    of = epsilons_of(config, rank, simulators)
    assert of is not None
    return of(steps)


def test_the_ladder_spans_the_simulators_of_all_learners() -> None:
    config = config_of(exploration="ladder")
    parts = [epsilons(config, rank, range(i, i + 1), 7) for rank in (0, 1) for i in range(3)]
    assert torch.equal(torch.cat(parts), epsilon_ladder(6))
    assert torch.equal(torch.cat(parts[3:]), epsilons(config, 1, range(3), 900))


def test_a_learner_that_joins_has_a_place_on_the_ladder() -> None:
    config = config_of(exploration="ladder")
    assert epsilons(config, 3, range(3), 0).shape == (3,)


@pytest.mark.parametrize(
    ("steps", "epsilon"), [(0, 1.0), (100, 0.55), (200, 0.1), (900, 0.1), (1100, 0.1)]
)
def test_the_schedule_falls_in_the_first_share_of_the_run(steps: int, epsilon: float) -> None:
    config = config_of(exploration="schedule", exploration_share=0.2, final_epsilon=0.1)
    for rank in (0, 1):
        found = epsilons(config, rank, range(1, 3), steps)
        torch.testing.assert_close(found, torch.full((2,), epsilon))


def test_a_random_policy_explores_by_itself() -> None:
    config = resolve(TrainConfig(method="a2c", env="CartPole-v1"))
    assert epsilons_of(config, 0, range(4)) is None
    config = resolve(replace(TrainConfig(), method="impala", env="CartPole-v1"))
    assert epsilons_of(config, 0, range(4)) is None
