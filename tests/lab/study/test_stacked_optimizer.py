"""Optimizers of a study: the package's own with local second moments, large batches' otherwise."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from gala_lab.study.gradients import Gradients
from gala_lab.study.options import SecondMoment
from gala_lab.study.stacked_optimizer import StackedOptimizer
from gala_rl.learners.optimizers import clip_grad_norm_, make_optimizer, state_size
from gala_rl.methods.a2c import A2CSettings

SHAPE = ROWS, SIZE = 3, 32
N = 16
ESTIMATES: tuple[SecondMoment, ...] = (
    "split",
    "difference",
    "window",
    "gain-split",
    "gain-difference",
)


def gradients(mean: Tensor, half_difference: Tensor | None = None) -> Gradients:
    return Gradients(torch.zeros(len(mean)), mean, half_difference)


@pytest.mark.parametrize("optimizer", ["rmsprop", "rmsprop-tf", "adam"])
def test_local_second_moments_are_the_packages(
    optimizer: Literal["rmsprop", "rmsprop-tf", "adam"],
) -> None:
    settings = A2CSettings(optimizer=optimizer)
    stacked = StackedOptimizer(SHAPE, settings, "local", N)
    x = torch.randn(SHAPE)
    own = x.clone()
    alone = [make_optimizer(row, settings, torch.zeros(state_size(settings, SIZE))) for row in own]
    for _ in range(10):
        drawn = torch.randn(SHAPE)
        x = x - stacked.step(gradients(drawn), 0.01)
        for row, one in zip(drawn.clone(), alone, strict=True):
            clip_grad_norm_(row, settings.max_grad_norm)
            one.step(row, 0.01)
        torch.testing.assert_close(x, own, atol=1e-6, rtol=1e-5)
    assert torch.equal(stacked.gain(), torch.ones(ROWS))


def mean_step(kind: SecondMoment, mean: float, noise: float) -> float:
    """Mean step after many updates, relative to that of one large batch of N learners."""
    torch.manual_seed(0)
    settings = A2CSettings(max_grad_norm=1e9, rmsprop_epsilon=1e-12)
    shape, total, updates = (4, 256), 0.0, 1_600
    stacked = StackedOptimizer(shape, settings, kind, N)
    for number in range(updates):
        halves = mean + noise * math.sqrt(2) * torch.randn(2, *shape)
        found = gradients(halves.mean(0), (halves[0] - halves[1]) / 2)
        step = stacked.step(found, 1.0)
        if number >= updates // 2:
            total += float(step.mean()) / (updates // 2)
    return total / (mean / math.sqrt(mean**2 + noise**2 / N))


@pytest.mark.parametrize("kind", ESTIMATES)
@pytest.mark.parametrize(("mean", "noise"), [(1.0, 0.1), (1.0, 1.0), (1.0, 10.0)])
def test_estimates_make_the_steps_of_a_large_batch(
    kind: SecondMoment, mean: float, noise: float
) -> None:
    assert mean_step(kind, mean, noise) == pytest.approx(1.0, abs=0.2)


def test_local_second_moments_step_shorter_where_noise_dominates() -> None:
    # √((μ² + σ²/n) / (μ² + σ²))
    rho = math.sqrt((1 + 100 / N) / (1 + 100))
    assert mean_step("local", 1.0, 10.0) == pytest.approx(rho, abs=0.05)
    assert mean_step("local", 1.0, 0.1) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("kind", ESTIMATES)
def test_estimates_stay_between_their_bounds(kind: SecondMoment) -> None:
    stacked = StackedOptimizer(SHAPE, A2CSettings(), kind, N)
    for _ in range(200):
        found = torch.randn(SHAPE)
        stacked.step(gradients(found, torch.randn(SHAPE)), 0.01)
        assert (stacked.gain() >= 1.0 - 1e-6).all()
        assert (stacked.gain() <= math.sqrt(N) + 1e-5).all()
    assert (stacked.gain() > 1.5).all()


@pytest.mark.parametrize("kind", ESTIMATES)
def test_one_learner_divides_by_its_own_second_moment(kind: SecondMoment) -> None:
    one, local = (StackedOptimizer(SHAPE, A2CSettings(), k, 1) for k in (kind, "local"))
    for _ in range(40):
        found = gradients(torch.randn(SHAPE), torch.randn(SHAPE))
        assert torch.equal(one.step(found, 0.01), local.step(found, 0.01))
