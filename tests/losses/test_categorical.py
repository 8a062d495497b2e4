"""C51's projection equals its literal sums, conserves mass and mean; the loss is cross entropy."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gala_rl.losses.categorical import categorical_loss, chosen_distributions, projected
from tests.support.loss_oracles import literal_projection

counts = st.integers(2, 9)
seeds = st.integers(0, 2**31)
rewards = st.floats(-5, 5)
discounts = st.sampled_from([0.0, 0.5, 0.99, 1.0])


def atoms_of(count: int, low: float = -2.0, high: float = 3.0) -> Tensor:
    return torch.linspace(low, high, count, dtype=torch.float64)


def distribution(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn(count, generator=generator, dtype=torch.float64), dim=-1)


def project(p: Tensor, reward: float, discount: float, atoms: Tensor) -> Tensor:
    returns, factors = (torch.tensor([x], dtype=torch.float64) for x in (reward, discount))
    return projected(p[None], returns, factors, atoms)[0]


@settings(deadline=None, max_examples=300)
@given(counts, seeds, rewards, discounts)
def test_the_projection_equals_the_literal_sums(
    count: int, seed: int, reward: float, discount: float
) -> None:
    atoms, p = atoms_of(count), distribution(count, seed)
    expected = literal_projection(p.tolist(), reward, discount, atoms.tolist())
    assert project(p, reward, discount, atoms).tolist() == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=150)
@given(counts, seeds, rewards, discounts)
def test_probabilities_remain_probabilities(
    count: int, seed: int, reward: float, discount: float
) -> None:
    result = project(distribution(count, seed), reward, discount, atoms_of(count))
    assert result.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert bool((result >= 0).all())


@settings(deadline=None, max_examples=150)
@given(counts, seeds, st.floats(-0.9, 1.4), st.sampled_from([0.0, 0.3, 0.5]))
def test_the_mean_is_preserved_inside_the_support(
    count: int, seed: int, reward: float, discount: float
) -> None:
    atoms, p = atoms_of(count), distribution(count, seed)
    mean = float(project(p, reward, discount, atoms) @ atoms)
    assert mean == pytest.approx(reward + discount * float(p @ atoms), abs=1e-12)


def test_atoms_that_move_onto_others_keep_their_mass() -> None:
    atoms, p = atoms_of(6), distribution(6, 0)
    # The published algorithm loses what falls on an atom: floor and ceiling are the same there.
    assert torch.allclose(project(p, 0.0, 1.0, atoms), p, atol=1e-12)
    shifted = project(p, 1.0, 1.0, atoms)
    assert shifted.tolist() == pytest.approx([0.0, *p[:4].tolist(), float(p[4:].sum())], abs=1e-12)


def test_what_is_beyond_the_support_counts_at_its_ends() -> None:
    atoms, p = atoms_of(6), distribution(6, 0)
    assert project(p, 100.0, 1.0, atoms).tolist() == pytest.approx([0.0] * 5 + [1.0])
    assert project(p, -100.0, 1.0, atoms).tolist() == pytest.approx([1.0] + [0.0] * 5)


def test_nothing_follows_a_termination() -> None:
    atoms = atoms_of(6)
    after = project(distribution(6, 0), 1.0, 0.0, atoms)
    assert after.tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])


def test_single_precision_loses_no_mass() -> None:
    atoms = torch.linspace(-10, 10, 51)
    p = torch.softmax(torch.randn(512, 51, generator=torch.Generator().manual_seed(0)), dim=-1)
    returns = torch.linspace(-12, 12, 512)
    result = projected(p, returns, torch.full((512,), 0.99), atoms)
    torch.testing.assert_close(result.sum(dim=-1), torch.ones(512), rtol=0.0, atol=2e-6)


@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(1, 4), counts)
def test_the_loss_is_the_weighted_cross_entropy(seed: int, items: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(items, 3, count, generator=generator, dtype=torch.float64)
    actions = torch.randint(0, 3, (items,), generator=generator)
    weights = torch.rand(items, generator=generator, dtype=torch.float64)
    targets = torch.stack([distribution(count, seed + b) for b in range(items)])
    log_probs = torch.log_softmax(logits, dim=-1)
    loss = categorical_loss(log_probs=log_probs, actions=actions, targets=targets, weights=weights)
    total = 0.0
    for b in range(items):
        q, p = log_probs[b, int(actions[b])].tolist(), targets[b].tolist()
        cross = -sum(p_i * q_i for p_i, q_i in zip(p, q, strict=True))
        kl = cross + sum(p_i * math.log(p_i) for p_i in p)
        assert loss.errors[b].item() == pytest.approx(kl, abs=1e-9)
        total += weights[b].item() * cross / items
    assert loss.total.item() == pytest.approx(total, rel=1e-9)


def test_a_prediction_that_is_right_has_no_error_even_where_atoms_have_no_mass() -> None:
    targets = torch.tensor([[0.0, 1.0, 0.0]])
    log_probs = torch.tensor([[[-200.0, 0.0, -200.0]]])
    loss = categorical_loss(
        log_probs=log_probs,
        actions=torch.tensor([0]),
        targets=targets,
        weights=torch.ones(1),
    )
    assert loss.total.item() == 0.0
    assert loss.errors.tolist() == [0.0]


def test_the_distribution_of_the_chosen_action_is_the_one_that_learns() -> None:
    logits = torch.zeros(2, 3, 4, requires_grad=True)
    actions = torch.tensor([2, 0])
    targets = torch.stack([distribution(4, b) for b in range(2)]).float()
    loss = categorical_loss(
        log_probs=torch.log_softmax(logits, dim=-1),
        actions=actions,
        targets=targets,
        weights=torch.ones(2),
    )
    (grads,) = torch.autograd.grad(loss.total, logits)
    moved = (grads.abs().sum(dim=-1) > 0).nonzero().tolist()
    assert moved == [[0, 2], [1, 0]]
    assert torch.equal(chosen_distributions(logits, actions), logits[[0, 1], [2, 0]])
    assert not loss.errors.requires_grad
