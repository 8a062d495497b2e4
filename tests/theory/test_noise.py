"""Gradient noise, its estimate, and learning rates of gossip on a noisy quadratic."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gala_rl.config.settings import AlgorithmSettings
from gala_rl.learners.optimizers import make_optimizer, state_size
from gala_rl.methods.a2c import A2CSettings
from gala_rl.theory.noise import noise_share, normalizer_gain

COUNT = 2_000
LEARNERS = 16
NOISE = 10.0
"""Standard deviation of one learner's gradient, whose mean is at most 1."""


def sampled(learners: int, mean: float, deviation: float, count: int = 50_000) -> Tensor:
    generator = torch.Generator().manual_seed(learners)
    return mean + deviation * torch.randn(learners, count, generator=generator)


@pytest.mark.parametrize("learners", [2, 4, 16])
def test_the_share_is_none_of_equal_gradients_and_all_of_independent_noise(learners: int) -> None:
    equal = torch.randn(COUNT, generator=torch.Generator().manual_seed(0)).expand(learners, COUNT)
    assert noise_share(equal) == pytest.approx(0.0, abs=1e-6)
    assert noise_share(sampled(learners, 0.0, 3.0)) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("learners", "error"), [(2, 0.15), (4, 0.08), (16, 0.03)])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_the_share_is_estimated_better_the_more_learners_there_are(
    learners: int, error: float, share: float
) -> None:
    gradients = sampled(learners, math.sqrt(1.0 - share), math.sqrt(share))
    assert noise_share(gradients) == pytest.approx(share, abs=error)


def test_the_share_depends_on_neither_scale_nor_coordinates_without_gradient() -> None:
    gradients = sampled(4, 1.0, 1.0)
    scales = torch.logspace(-6, 6, gradients.shape[1])
    known = noise_share(gradients)
    assert noise_share(gradients * scales) == pytest.approx(known, abs=1e-5)
    assert noise_share(torch.cat([gradients, torch.zeros(4, 100)], dim=1)) == known
    assert noise_share(torch.zeros(4, 100)) is None


@given(st.floats(0.0, 1.0), st.integers(1, 1_000))
def test_the_gain_is_the_ratio_of_the_two_roots(share: float, learners: int) -> None:
    signal = 1.0 - share
    ratio = math.sqrt((signal + share) / (signal + share / learners))
    assert normalizer_gain(share, learners) == pytest.approx(ratio)


def test_the_gain_of_an_estimate_outside_the_range_is_that_of_its_end() -> None:
    assert normalizer_gain(-0.1, 16) == 1.0
    assert normalizer_gain(1.1, 16) == pytest.approx(4.0)


def updates_to_a_quarter(
    learners: int, deviation: float, rate: float, settings: AlgorithmSettings
) -> int:
    """Updates until the mean of x² / 2 has fallen to a quarter, for learners on a directed ring.

    Their optimizers start with the second moments that they would have after a long time.
    """
    generator = torch.Generator().manual_seed(0)
    parameters = torch.ones(learners, COUNT)
    optimizers = []
    for row in parameters:
        memory = torch.zeros(state_size(settings, COUNT))
        optimizer = make_optimizer(row, settings, memory)
        moments = memory[:COUNT] if settings.optimizer == "rmsprop" else memory[COUNT : 2 * COUNT]
        moments.fill_(1.0 + deviation**2)
        if settings.optimizer == "adam":
            memory[2 * COUNT] = 1e6
        optimizers.append(optimizer)
    for update in range(1, 10_000):
        noise = deviation * torch.randn(learners, COUNT, generator=generator)
        for optimizer, gradient in zip(optimizers, parameters + noise, strict=True):
            optimizer.step(gradient, rate)
        parameters.copy_((parameters + parameters.roll(1, dims=0)) / 2)
        if float(parameters.mean(dim=0).square().mean()) < 0.25:
            return update
    raise AssertionError("it has not converged")


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_where_noise_dominates_the_linear_rule_makes_gossip_one_large_batch(
    optimizer: str,
) -> None:
    settings = A2CSettings(optimizer=optimizer)  # type: ignore[arg-type]
    batch_noise, rate = NOISE / math.sqrt(LEARNERS), 0.01
    batch = updates_to_a_quarter(1, batch_noise, rate, settings)
    plain = updates_to_a_quarter(LEARNERS, NOISE, rate, settings)
    linear = updates_to_a_quarter(LEARNERS, NOISE, rate * math.sqrt(LEARNERS), settings)
    assert plain > 3.0 * batch
    assert linear == pytest.approx(batch, rel=0.1)
    gain = normalizer_gain(NOISE**2 / (1.0 + NOISE**2), LEARNERS)
    assert plain / batch == pytest.approx(gain, rel=0.1)


def test_where_there_is_no_noise_equal_rates_are_equal_and_the_linear_rule_is_too_fast() -> None:
    settings, rate = A2CSettings(), 0.002
    batch = updates_to_a_quarter(1, 0.0, rate, settings)
    plain = updates_to_a_quarter(LEARNERS, 0.0, rate, settings)
    linear = updates_to_a_quarter(LEARNERS, 0.0, rate * math.sqrt(LEARNERS), settings)
    assert plain == batch
    assert batch / linear == pytest.approx(math.sqrt(LEARNERS), rel=0.2)
