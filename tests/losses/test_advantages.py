"""Generalised advantages equal the literal sums of their definition, and what follows from it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gala_rl.losses.advantages import generalized_advantages, normalized
from gala_rl.losses.boundaries import EpisodeBoundaries
from tests.support.rollouts import Rollout, flag, one_episode, rollouts, zeros

lambdas = st.floats(0, 1)


def advantages_of(rollout: Rollout, gae_lambda: float) -> Tensor:
    return generalized_advantages(
        rollout.rewards,
        rollout.values,
        rollout.boundaries,
        rollout.discount,
        gae_lambda,
    )


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def full(value: float, steps: int) -> Tensor:
    return torch.full((steps, 1), value, dtype=torch.float64)


@settings(deadline=None, max_examples=150)
@given(rollouts(), lambdas)
def test_advantages_equal_the_literal_sums(rollout: Rollout, gae_lambda: float) -> None:
    expected = torch.empty_like(rollout.rewards)
    for b in range(expected.shape[1]):
        steps = rollout.steps(b)
        for t in range(expected.shape[0]):
            expected[t, b] = steps.generalized_advantage(t, gae_lambda)
    assert_same(advantages_of(rollout, gae_lambda), expected)


@settings(deadline=None, max_examples=60)
@given(rollouts(), lambdas)
def test_advantages_are_the_weighted_mean_of_all_n_step_advantages(
    rollout: Rollout, gae_lambda: float
) -> None:
    """(1 - λ) Σ_n λ^{n-1} A^(n), the last of them with all the weight that is left."""
    advantages = advantages_of(rollout, gae_lambda)
    for b in range(advantages.shape[1]):
        steps = rollout.steps(b)
        for t in range(advantages.shape[0]):
            longest = steps.last(t) - t + 1
            expected = 0.0
            for n in range(1, longest + 1):
                rewards = sum(steps.discount**k * steps.rewards[t + k] for k in range(n))
                bootstrap = steps.discount**n * steps.following(t + n - 1, steps.values)
                weight = 1.0 if n == longest else 1 - gae_lambda
                expected += weight * gae_lambda ** (n - 1) * (rewards + bootstrap - steps.values[t])
            assert advantages[t, b].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(rollouts())
def test_lambda_one_is_the_n_step_return_minus_the_value(rollout: Rollout) -> None:
    assert_same(advantages_of(rollout, 1.0), rollout.returns() - rollout.values)


@settings(deadline=None, max_examples=60)
@given(rollouts())
def test_lambda_zero_is_the_one_step_error(rollout: Rollout) -> None:
    steps = [rollout.steps(b) for b in range(rollout.rewards.shape[1])]
    errors = [[s.td_error(t) for s in steps] for t in range(rollout.rewards.shape[0])]
    assert_same(advantages_of(rollout, 0.0), torch.tensor(errors, dtype=torch.float64))


@settings(deadline=None, max_examples=30)
@given(rollouts(), lambdas)
def test_simulators_do_not_influence_each_other(rollout: Rollout, gae_lambda: float) -> None:
    together = advantages_of(rollout, gae_lambda)
    for b in range(together.shape[1]):
        alone = advantages_of(rollout.simulator(b), gae_lambda)
        assert torch.equal(alone, together[:, b : b + 1])


@settings(deadline=None, max_examples=30)
@given(rollouts(), lambdas)
def test_where_values_are_right_no_action_was_better_than_another(
    rollout: Rollout, gae_lambda: float
) -> None:
    right = replace(rollout, values=rollout.returns())
    assert_same(advantages_of(right, gae_lambda), torch.zeros_like(rollout.rewards))


def test_hand_computed_advantages_of_a_terminated_and_a_truncated_simulator() -> None:
    advantages = generalized_advantages(
        rewards=torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]),
        values=torch.tensor([[1.0, 1.0], [4.0, 4.0], [3.0, 3.0]]),
        boundaries=EpisodeBoundaries(
            terminated=torch.tensor([[False, False], [True, False], [False, False]]),
            truncated=torch.tensor([[False, False], [False, True], [False, False]]),
            truncation_values=torch.tensor([[0.0, 0.0], [0.0, 8.0], [0.0, 0.0]]),
            bootstrap_values=torch.tensor([16.0, 32.0]),
        ),
        discount=0.5,
        gae_lambda=0.5,
    )
    # TD errors: 1 + 4/2 - 1 = 2;  2 - 4 = -2 or 2 + 8/2 - 4 = 2;  4 + 16/2 - 3 = 9 or 4 + 32/2 - 3
    assert advantages.tolist() == [[1.5, 2.5], [-2.0, 2.0], [9.0, 17.0]]


@pytest.mark.parametrize("ended_by", ["terminated", "truncated"])
def test_two_episodes_in_a_row_have_the_advantages_of_each_alone(ended_by: str) -> None:
    first, second = [1.0, -2.0, 3.0], [5.0, 7.0]
    end: Any = {ended_by: flag(5, 2)}
    first_end: Any = {ended_by: flag(3, 2)}
    both = replace(
        one_episode(first + second, bootstrap=11.0),
        values=torch.arange(5, dtype=torch.float64)[:, None],
        truncation_values=full(6.0, 5),
        **end,
    )
    first_alone = replace(
        one_episode(first, bootstrap=99.0),
        values=both.values[:3],
        truncation_values=full(6.0, 3),
        **first_end,
    )
    second_alone = replace(one_episode(second, bootstrap=11.0), values=both.values[3:])
    expected = torch.cat([advantages_of(first_alone, 0.7), advantages_of(second_alone, 0.7)])
    assert torch.equal(advantages_of(both, 0.7), expected)


def test_terminated_wins_over_truncated() -> None:
    rollout = replace(
        one_episode([1.0, 2.0, 4.0], bootstrap=1000.0),
        terminated=flag(3, 1),
        truncation_values=full(500.0, 3),
    )
    both = replace(rollout, truncated=flag(3, 1))
    assert torch.equal(advantages_of(both, 0.7), advantages_of(rollout, 0.7))


def test_values_that_must_be_ignored_may_even_be_nan() -> None:
    nan = float("nan")
    rollout = replace(
        one_episode([1.0, 2.0, 4.0], bootstrap=nan),
        terminated=flag(3, 1),
        truncation_values=full(nan, 3),
    )
    advantages = advantages_of(rollout, 0.5)
    assert advantages[:2].tolist() == [[1.0 + 0.9 * 0.5 * 2.0], [2.0]]
    assert advantages[2].isnan().all()


def test_advantages_carry_no_gradient_and_leave_their_inputs_alone() -> None:
    rollout = one_episode([1.0, 2.0], bootstrap=3.0)
    values = rollout.values.clone().requires_grad_()
    rewards = rollout.rewards.clone()
    assert not advantages_of(replace(rollout, values=values), 0.5).requires_grad
    assert torch.equal(rollout.rewards, rewards)
    assert torch.equal(values, torch.zeros(2, 1, dtype=torch.float64))


def test_single_precision_stays_single_precision() -> None:
    double = one_episode([1.0, 2.0], bootstrap=3.0)
    single: Any = {
        name: x.float()
        for name, x in vars(double).items()
        if isinstance(x, Tensor) and x.is_floating_point()
    }
    assert advantages_of(replace(double, **single), 0.5).dtype == torch.float32


@pytest.mark.parametrize(
    ("field", "shape"),
    [
        ("rewards", (6,)),
        ("bootstrap_values", (2, 1)),
        ("bootstrap_values", (1,)),
        ("terminated", (2,)),
        ("truncated", (3, 1)),
        ("truncation_values", (3, 2, 1)),
        ("values", (4, 2)),
        ("values", (2,)),
    ],
)
def test_a_wrong_shape_is_refused_by_name(field: str, shape: tuple[int, ...]) -> None:
    rollout = zeros(3, 2)
    wrong: Any = {field: torch.zeros(shape, dtype=getattr(rollout, field).dtype)}
    with pytest.raises(ValueError, match=field):
        advantages_of(replace(rollout, **wrong), 0.5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=30).filter(lambda x: len({*x}) > 1))
def test_normalized_advantages_have_mean_0_and_deviation_1(advantages: list[int]) -> None:
    result = normalized(torch.tensor(advantages, dtype=torch.float64))
    assert result.mean().item() == pytest.approx(0, abs=1e-12)
    assert result.square().mean().sqrt().item() == pytest.approx(1, abs=1e-6)


def test_normalized_equals_the_literal_formula_on_any_shape() -> None:
    x = torch.tensor([[1.0, 2.0], [4.0, 9.0]], dtype=torch.float64, requires_grad=True)
    # Mean 4, squared deviations 9, 4, 0, 25: their mean is 9.5.
    expected = torch.tensor([[-3.0, -2.0], [0.0, 5.0]], dtype=torch.float64) / (9.5**0.5 + 0.1)
    result = normalized(x, epsilon=0.1)
    assert_same(result, expected)
    assert not result.requires_grad


@pytest.mark.parametrize("equal", [[3.0], [2.0, 2.0, 2.0]])
def test_equal_advantages_become_zero(equal: list[float]) -> None:
    assert normalized(torch.tensor(equal)).tolist() == [0.0] * len(equal)
