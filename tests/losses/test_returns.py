"""n-step returns equal the literal sums of their definition, at every end, cut and bootstrap."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from gala_rl.losses.boundaries import EpisodeBoundaries
from gala_rl.losses.returns import following_values, n_step_returns, sums_within_episodes
from tests.support.loss_oracles import literal_returns
from tests.support.rollouts import Rollout, flag, one_episode, rollouts, zeros


def literal(rollout: Rollout) -> Tensor:
    rows = literal_returns(
        rollout.rewards.tolist(),
        rollout.terminated.tolist(),
        rollout.truncated.tolist(),
        rollout.truncation_values.tolist(),
        rollout.bootstrap_values.tolist(),
        rollout.discount,
    )
    return torch.tensor(rows, dtype=torch.float64)


@settings(deadline=None, max_examples=150)
@given(rollouts())
def test_returns_equal_the_literal_sums(rollout: Rollout) -> None:
    torch.testing.assert_close(rollout.returns(), literal(rollout), rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(rollouts())
def test_without_discount_factor_returns_are_the_rewards(rollout: Rollout) -> None:
    assert torch.equal(replace(rollout, discount=0.0).returns(), rollout.rewards)


@settings(deadline=None, max_examples=30)
@given(rollouts())
def test_simulators_do_not_influence_each_other(rollout: Rollout) -> None:
    together = rollout.returns()
    for b in range(together.shape[1]):
        alone = rollout.simulator(b)
        assert torch.equal(alone.returns(), together[:, b : b + 1])


def test_constant_reward_without_ends_gives_the_geometric_sum_and_the_bootstrap() -> None:
    discount, steps, bootstrap = 0.9, 6, 5.0
    returns = one_episode([1.0] * steps, bootstrap=bootstrap, discount=discount).returns()
    for t in range(steps):
        left = steps - t
        expected = (1 - discount**left) / (1 - discount) + discount**left * bootstrap
        assert returns[t, 0].item() == pytest.approx(expected, rel=1e-12)


def test_a_state_worth_the_infinite_sum_is_worth_it_at_every_step() -> None:
    rollout = one_episode([1.0] * 5, bootstrap=1 / (1 - 0.9), discount=0.9)
    torch.testing.assert_close(rollout.returns(), torch.full((5, 1), 10.0, dtype=torch.float64))


def test_hand_computed_returns_of_a_terminated_and_a_truncated_simulator() -> None:
    returns = n_step_returns(
        rewards=torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]),
        boundaries=EpisodeBoundaries(
            terminated=torch.tensor([[False, False], [True, False], [False, False]]),
            truncated=torch.tensor([[False, False], [False, True], [False, False]]),
            truncation_values=torch.tensor([[0.0, 0.0], [0.0, 8.0], [0.0, 0.0]]),
            bootstrap_values=torch.tensor([16.0, 32.0]),
        ),
        discount=0.5,
    )
    # 1 + 2/2 = 2;  1 + (2 + 8/2)/2 = 4;  4 + 16/2 = 12;  4 + 32/2 = 20
    assert returns.tolist() == [[2.0, 4.0], [2.0, 6.0], [12.0, 20.0]]


def test_two_episodes_in_a_row_have_the_returns_of_each_alone() -> None:
    first, second = [1.0, -2.0, 3.0], [5.0, 7.0]
    both = replace(one_episode(first + second, bootstrap=11.0), terminated=flag(5, 2))
    first_alone = replace(one_episode(first, bootstrap=99.0), terminated=flag(3, 2))
    second_alone = one_episode(second, bootstrap=11.0)
    expected = torch.cat([first_alone.returns(), second_alone.returns()])
    assert torch.equal(both.returns(), expected)


def test_truncation_equals_going_on_into_a_state_of_that_value() -> None:
    value = 6.5
    cut = replace(
        one_episode([1.0, 2.0, 100.0, 100.0], bootstrap=1000.0),
        truncated=flag(4, 1),
        truncation_values=torch.full((4, 1), value, dtype=torch.float64),
    )
    # The same two steps, then a state from which the episode pays `value` and ends.
    going_on = replace(
        one_episode([1.0, 2.0, value, 100.0], bootstrap=1000.0), terminated=flag(4, 2)
    )
    assert torch.equal(cut.returns()[:2], going_on.returns()[:2])


def test_truncation_equals_a_rollout_that_stops_there_and_bootstraps() -> None:
    cut = replace(
        one_episode([1.0, 2.0, 100.0], bootstrap=1000.0),
        truncated=flag(3, 1),
        truncation_values=torch.full((3, 1), -3.0, dtype=torch.float64),
    )
    stopped = one_episode([1.0, 2.0], bootstrap=-3.0)
    assert torch.equal(cut.returns()[:2], stopped.returns())


def test_terminated_wins_over_truncated() -> None:
    rollout = replace(
        one_episode([1.0, 2.0, 4.0], bootstrap=1000.0),
        terminated=flag(3, 1),
        truncation_values=torch.full((3, 1), 500.0, dtype=torch.float64),
    )
    both = replace(rollout, truncated=flag(3, 1))
    assert torch.equal(both.returns(), rollout.returns())


def test_values_that_must_be_ignored_may_even_be_nan() -> None:
    nan = float("nan")
    rollout = replace(
        one_episode([1.0, 2.0], bootstrap=nan),
        terminated=flag(2, 1),
        truncation_values=torch.full((2, 1), nan, dtype=torch.float64),
    )
    assert rollout.returns().tolist() == [[1.0 + 0.9 * 2.0], [2.0]]


def test_returns_carry_no_gradient_and_leave_their_inputs_alone() -> None:
    rollout = replace(one_episode([1.0, 2.0], bootstrap=3.0), truncated=flag(2, 0))
    bootstrap = rollout.bootstrap_values.clone().requires_grad_()
    before = rollout.rewards.clone()
    returns = replace(rollout, bootstrap_values=bootstrap).returns()
    assert not returns.requires_grad
    assert torch.equal(rollout.rewards, before)
    assert bootstrap.tolist() == [3.0]


def test_single_precision_stays_single_precision() -> None:
    rollout = one_episode([1.0, 2.0], bootstrap=3.0)
    single = replace(
        rollout,
        rewards=rollout.rewards.float(),
        truncation_values=rollout.truncation_values.float(),
        bootstrap_values=rollout.bootstrap_values.float(),
    )
    assert single.returns().dtype == torch.float32


def test_what_follows_is_of_the_same_episode() -> None:
    following = following_values(
        values=torch.tensor([[1.0], [2.0], [3.0], [4.0]]),
        boundaries=EpisodeBoundaries(
            terminated=flag(4, 1, 2),
            truncated=flag(4, 0, 2),
            truncation_values=torch.full((4, 1), 9.0),
            bootstrap_values=torch.tensor([5.0]),
        ),
    )
    assert following.tolist() == [[9.0], [0.0], [0.0], [5.0]]


def test_sums_stop_at_the_end_of_an_episode_and_leave_their_terms_alone() -> None:
    terms = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    factors = torch.tensor([[0.5], [3.0], [0.25], [7.0]])
    # 1 + 2/2;  2, the last;  4 + 8/4;  8, the last
    assert sums_within_episodes(terms, factors, flag(4, 1)).tolist() == [[2.0], [2.0], [6.0], [8.0]]
    assert terms.tolist() == [[1.0], [2.0], [4.0], [8.0]]


@pytest.mark.parametrize(
    ("field", "shape"),
    [
        ("rewards", (6,)),
        ("rewards", (3, 2, 1)),
        ("bootstrap_values", (2, 1)),
        ("bootstrap_values", (3,)),
        ("bootstrap_values", (1,)),
        ("terminated", (2, 3)),
        ("terminated", (2,)),
        ("truncated", (3, 1)),
        ("truncation_values", (1, 2)),
        ("truncation_values", (3, 2, 1)),
    ],
)
def test_a_wrong_shape_is_refused_by_name(field: str, shape: tuple[int, ...]) -> None:
    rollout = zeros(3, 2)
    wrong: Any = {field: torch.zeros(shape, dtype=getattr(rollout, field).dtype)}
    with pytest.raises(ValueError, match=field):
        replace(rollout, **wrong).returns()
