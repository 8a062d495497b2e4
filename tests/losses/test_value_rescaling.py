"""h and its inverse undo each other in float32, from 1e-6 to 1e6, and equal the published forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gala_rl.losses.value_rescaling import EPSILON, rescaled, unscaled
from tests.support.loss_oracles import literal_h, literal_h_inverse

magnitudes = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)
numbers = st.one_of(st.just(0.0), magnitudes, magnitudes.map(lambda x: -x))


def one(x: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor([x], dtype=dtype)


@settings(deadline=None, max_examples=300)
@given(numbers)
def test_each_undoes_the_other(x: float) -> None:
    assert unscaled(rescaled(one(x))).item() == pytest.approx(x, rel=2e-6, abs=1e-12)
    assert rescaled(unscaled(one(x))).item() == pytest.approx(x, rel=2e-6, abs=1e-12)


@settings(deadline=None, max_examples=300)
@given(numbers)
def test_both_equal_the_published_forms(x: float) -> None:
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        assert rescaled(one(x, dtype)).item() == pytest.approx(literal_h(x), rel=tolerance, abs=0)
        assert unscaled(one(x, dtype)).item() == pytest.approx(
            literal_h_inverse(x), rel=tolerance, abs=0
        )


def test_both_are_odd_and_rise() -> None:
    x = torch.logspace(-6, 6, 10_001)
    for function in (rescaled, unscaled):
        y = function(x)
        assert bool((y.diff() > 0).all())
        assert torch.equal(function(-x), -y)
        assert function(torch.zeros(1)).item() == 0.0


def test_the_slope_is_a_half_at_zero_and_epsilon_far_away() -> None:
    x = torch.tensor([0.0, 1e12], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(rescaled(x).sum(), x)
    assert slopes.tolist() == pytest.approx([0.5 + EPSILON, EPSILON], rel=1e-3)


def test_gradients_are_finite_everywhere() -> None:
    x = torch.tensor([-1e6, -1.0, 0.0, 1e-6, 1e6], requires_grad=True)
    for function in (rescaled, unscaled):
        (slopes,) = torch.autograd.grad(function(x).sum(), x)
        assert all(math.isfinite(slope) and slope > 0 for slope in slopes.tolist())
