"""Targets and losses of double Q-learning equal their definitions, item by item."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gala_rl.losses.q_learning import QLearningLoss, double_q_values, q_learning_loss

seeds = st.integers(0, 2**31)
ACTIONS = 3


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).mul(2.0)


def loss_of(
    q: Tensor, next_q: Tensor, next_target: Tensor, seed: int, huber: float | None
) -> tuple[QLearningLoss, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    items = len(q)
    terms = {
        "actions": torch.randint(0, ACTIONS, (items,), generator=generator),
        "returns": randn(items, seed=seed + 1),
        "discounts": torch.rand(items, generator=generator, dtype=torch.float64).round(decimals=1),
        "weights": torch.rand(items, generator=generator, dtype=torch.float64),
    }
    values = double_q_values(next_q, next_target)
    return q_learning_loss(q_values=q, next_values=values, huber=huber, **terms), terms


@settings(deadline=None, max_examples=150)
@given(seeds, st.integers(1, 6), st.sampled_from([None, 0.5, 1.0]))
def test_errors_and_loss_equal_the_literal_sums(seed: int, items: int, huber: float | None) -> None:
    q, following, target = (randn(items, ACTIONS, seed=seed + i) for i in range(3))
    loss, terms = loss_of(q, following, target, seed, huber)
    total = 0.0
    for b in range(items):
        ours = following[b].tolist()
        value = target[b, ours.index(max(ours))].item()
        delta = (
            terms["returns"][b].item()
            + terms["discounts"][b].item() * value
            - q[b, int(terms["actions"][b])].item()
        )
        assert loss.td_errors[b].item() == pytest.approx(delta, rel=1e-9, abs=1e-9)
        limit = math.inf if huber is None else huber
        small = abs(delta) <= limit
        item = 0.5 * delta**2 if small else limit * (abs(delta) - 0.5 * limit)
        total += terms["weights"][b].item() * item / items
    assert loss.total.item() == pytest.approx(total, rel=1e-9)


def test_the_online_network_chooses_and_the_target_network_values() -> None:
    online, target = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[7.0, -3.0, 9.0]])
    assert double_q_values(online, target).tolist() == [-3.0]
    assert double_q_values(target, online).tolist() == [0.0]


def test_a_sequence_is_valued_row_by_row() -> None:
    online, target = randn(4, 2, ACTIONS, seed=0), randn(4, 2, ACTIONS, seed=1)
    values = double_q_values(online, target)
    rows = [double_q_values(*pair) for pair in zip(online, target, strict=True)]
    assert torch.equal(values, torch.stack(rows))


def test_only_the_value_of_the_chosen_action_has_a_gradient() -> None:
    q, following, target = (randn(4, ACTIONS, seed=i).requires_grad_() for i in range(3))
    loss, terms = loss_of(q, following, target, seed=0, huber=None)
    (grads,) = torch.autograd.grad(loss.total, q, retain_graph=True)
    expected = torch.zeros_like(q)
    rows = torch.arange(4)
    expected[rows, terms["actions"]] = -terms["weights"] * loss.td_errors / 4
    torch.testing.assert_close(grads, expected)
    unused: Sequence[Tensor | None] = torch.autograd.grad(
        loss.total, [following, target], allow_unused=True
    )
    assert list(unused) == [None, None]
    assert not loss.td_errors.requires_grad


def test_huber_s_gradient_is_clipped_and_the_errors_are_not() -> None:
    q = torch.tensor([[10.0, 0.0]], requires_grad=True)
    one = torch.ones(1)
    loss = q_learning_loss(
        q_values=q,
        actions=torch.tensor([0]),
        returns=0.0 * one,
        discounts=one,
        next_values=0.0 * one,
        weights=one,
        huber=1.0,
    )
    assert loss.td_errors.tolist() == [-10.0]
    (grads,) = torch.autograd.grad(loss.total, q)
    assert grads.tolist() == [[1.0, 0.0]]


def test_what_would_broadcast_is_rejected_by_name() -> None:
    with pytest.raises(ValueError, match="target_q_values must have the shape of q_values"):
        double_q_values(torch.zeros(2, 3), torch.zeros(1, 3))
    one = torch.ones(2)
    with pytest.raises(ValueError, match="weights must have the shape of values"):
        q_learning_loss(
            q_values=torch.zeros(2, 3),
            actions=torch.zeros(2, dtype=torch.int64),
            returns=one,
            discounts=one,
            next_values=one,
            weights=torch.ones(1),
            huber=None,
        )
