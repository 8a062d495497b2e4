"""Learning rates and threads of a resolved config."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from gala_rl.config.resolved import ResolvedConfig
from gala_rl.config.train import (
    TrainConfig,
)
from gala_rl.learners.optimizers import RMSprop
from gala_rl.methods.a2c import A2CSettings
from gala_rl.methods.resolving import resolve


def resolved(**settings: Any) -> ResolvedConfig:
    """A config for CartPole with these settings, resolved."""
    return resolve(TrainConfig(env="CartPole-v1", **settings))


@pytest.mark.parametrize(
    ("learners", "simulators", "factor"), [(1, 16, 1.0), (4, 16, 2.0), (1, 4, 0.5), (2, 32, 2.0)]
)
def test_the_learning_rate_grows_with_the_root_of_all_simulators(
    learners: int, simulators: int, factor: float
) -> None:
    config = resolved(learners=learners, simulators=simulators, algorithm=A2CSettings())
    assert config.initial_learning_rate == pytest.approx(7e-4 * factor, rel=1e-12)


@pytest.mark.parametrize(
    ("learners", "simulators", "factor"), [(1, 16, 1.0), (4, 16, 4.0), (1, 4, 0.5), (4, 64, 8.0)]
)
def test_the_linear_rule_grows_with_learners_and_with_the_root_of_their_simulators(
    learners: int, simulators: int, factor: float
) -> None:
    linear = A2CSettings(learning_rate_rule="linear")
    config = resolved(learners=learners, simulators=simulators, algorithm=linear)
    assert config.initial_learning_rate == pytest.approx(7e-4 * factor, rel=1e-12)


def test_the_constant_rule_takes_the_learning_rate_as_given() -> None:
    config = resolved(
        learners=9, simulators=16, algorithm=A2CSettings(learning_rate_rule="constant")
    )
    assert config.initial_learning_rate == 7e-4


def test_the_correction_divides_by_the_bias_of_an_average_that_began_at_zero() -> None:
    """With a constant gradient g, v = (1 - decay^k) g²: corrected steps are equally long.

    At first they are as long as those of one large batch, if that is longer.
    """
    learners, lengths = 64, []
    corrected = A2CSettings(bias_correction=True)
    config = resolved(learners=learners, simulators=16, algorithm=corrected)
    parameters, gradient, square = torch.zeros(4), torch.full((4,), 0.1), torch.zeros(4)
    optimizer = RMSprop(parameters, corrected, square)
    rate = config.initial_learning_rate
    for update in range(300):
        before = parameters.clone()
        optimizer.step(gradient, config.learning_rate_at(update * learners * 16 * 5))
        lengths.append(float((before - parameters).max()))
    assert lengths[0] == pytest.approx(10 * rate / 8, rel=1e-3)
    assert lengths[1] < lengths[0]
    assert lengths[2:] == pytest.approx([rate] * 298, rel=1e-2)


def test_the_correction_changes_neither_one_learner_nor_other_optimizers() -> None:
    corrected = A2CSettings(bias_correction=True)
    other = replace(corrected, optimizer="rmsprop-tf")
    for learners, algorithm in ((1, corrected), (4, other)):
        config = resolved(learners=learners, simulators=16, algorithm=algorithm)
        assert config.learning_rate_at(0) == config.initial_learning_rate


def test_the_constant_schedule_never_changes_the_learning_rate() -> None:
    config = resolved(learners=1, simulators=16, steps=1000, algorithm=A2CSettings())
    assert [config.learning_rate_at(k) for k in (0, 999, 5000)] == [7e-4] * 3


def test_the_linear_schedule_falls_to_zero_at_the_last_step_and_stays_there() -> None:
    linear = A2CSettings(learning_rate_schedule="linear")
    config = resolved(learners=4, simulators=16, steps=1000, algorithm=linear)
    rates = [config.learning_rate_at(k) for k in (0, 250, 500, 1000, 1080)]
    assert rates == pytest.approx([14e-4, 10.5e-4, 7e-4, 0.0, 0.0], rel=1e-12)


@pytest.mark.parametrize(
    ("cores", "learners", "serial", "threads"),
    [(8, 2, False, 4), (2, 8, False, 1), (7, 2, False, 3), (8, 4, True, 8)],
)
def test_cores_are_shared_out_among_learners(
    monkeypatch: pytest.MonkeyPatch, cores: int, learners: int, serial: bool, threads: int
) -> None:
    config = resolved(learners=learners, serial=serial)
    monkeypatch.setattr("gala_rl.config.resolved.usable_cores", lambda: cores)
    assert config.threads_per_learner() == threads
