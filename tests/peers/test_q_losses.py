"""Value rescaling, R2D2's errors, C51's projection and double Q-learning equal those of RLax."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gala_rl.losses.categorical import categorical_loss, chosen_distributions, projected
from gala_rl.losses.q_learning import double_q_values, q_learning_loss
from gala_rl.losses.r2d2 import r2d2_loss
from gala_rl.losses.value_rescaling import EPSILON, rescaled, unscaled

pytestmark = pytest.mark.peers

LEARNED, ACTIONS, ITEMS = 12, 3, 40

seeds = pytest.mark.parametrize("seed", range(3))


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int) -> Tensor:
    return 3 * torch.randn(shape, generator=generator_of(seed), dtype=torch.float64)


def actions_of(*shape: int, seed: int) -> Tensor:
    return torch.randint(0, ACTIONS, shape, generator=generator_of(seed))


def assert_same(actual: Tensor, expected: Any, *, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(actual.numpy(), np.asarray(expected), rtol=tolerance, atol=tolerance)


def test_rescaling_equals_rlax(rlax: Any) -> None:
    x = torch.logspace(-6, 6, 1000, dtype=torch.float64)
    x = torch.cat([-x, torch.zeros(1, dtype=torch.float64), x])
    assert_same(rescaled(x), rlax.signed_hyperbolic(x.numpy(), EPSILON))
    assert_same(
        unscaled(x[x.abs() < 2e3]), rlax.signed_parabolic(x[x.abs() < 2e3].numpy(), EPSILON)
    )


@seeds
@pytest.mark.parametrize("n_step", [1, 3, 5])
def test_errors_of_sequences_equal_rlax(rlax: Any, seed: int, n_step: int) -> None:
    """RLax knows terminations, but no truncations; it has no axis of items."""
    import jax

    rows, discount = LEARNED + n_step, 0.97
    q, target = (randn(rows, ITEMS, ACTIONS, seed=seed + i) for i in range(2))
    rewards, actions = randn(rows, ITEMS, seed=seed + 2), actions_of(rows, ITEMS, seed=seed)
    terminated = torch.rand(rows, ITEMS, generator=generator_of(seed)) < 0.15
    ours = r2d2_loss(
        q_values=q,
        target_q_values=target,
        actions=actions,
        rewards=rewards,
        terminated=terminated,
        truncated=torch.zeros_like(terminated),
        is_learned=torch.ones(LEARNED, ITEMS, dtype=torch.bool),
        weights=torch.ones(ITEMS, dtype=torch.float64),
        n_step=n_step,
        discount=discount,
    )

    def errors(*inputs: Any) -> Any:
        pair = rlax.SIGNED_HYPERBOLIC_PAIR
        return rlax.transformed_n_step_q_learning(*inputs, n=n_step, tx_pair=pair)

    inputs = (
        q[:-1],
        actions[:-1],
        target[1:],
        q[1:].argmax(dim=-1),
        rewards[:-1],
        discount * (~terminated[:-1]).double(),
    )
    expected = jax.vmap(errors, in_axes=1, out_axes=1)(*(x.numpy() for x in inputs))
    assert_same(ours.td_errors, expected[:LEARNED])


@seeds
def test_errors_of_transitions_equal_rlax(rlax: Any, seed: int) -> None:
    import jax

    q, following, target = (randn(ITEMS, ACTIONS, seed=seed + i) for i in range(3))
    returns, actions = randn(ITEMS, seed=seed + 3), actions_of(ITEMS, seed=seed)
    discounts = torch.rand(ITEMS, generator=generator_of(seed), dtype=torch.float64)
    loss = q_learning_loss(
        q_values=q,
        actions=actions,
        returns=returns,
        discounts=discounts,
        next_values=double_q_values(following, target),
        weights=torch.ones(ITEMS, dtype=torch.float64),
        huber=1.0,
    )
    inputs = (q, actions, returns, discounts, target, following)
    errors = jax.vmap(rlax.double_q_learning)(*(x.numpy() for x in inputs))
    assert_same(loss.td_errors, errors)
    assert_same(loss.total, rlax.huber_loss(errors).mean())


@seeds
@pytest.mark.filterwarnings("ignore:Rlax categorical_cross_entropy:PendingDeprecationWarning")
def test_the_categorical_loss_equals_rlax(rlax: Any, seed: int) -> None:
    import jax

    atoms = torch.linspace(-4, 6, 11, dtype=torch.float64)
    logits, target = (randn(ITEMS, ACTIONS, len(atoms), seed=seed + i) for i in range(2))
    following = randn(ITEMS, ACTIONS, seed=seed + 2)
    returns, actions = randn(ITEMS, seed=seed + 3), actions_of(ITEMS, seed=seed)
    discounts = torch.rand(ITEMS, generator=generator_of(seed), dtype=torch.float64)
    probabilities = chosen_distributions(target.softmax(dim=-1), following.argmax(dim=-1))
    loss = categorical_loss(
        log_probs=logits.log_softmax(dim=-1),
        actions=actions,
        targets=projected(probabilities, returns, discounts, atoms),
        weights=torch.ones(ITEMS, dtype=torch.float64),
    )

    def losses(*inputs: Any) -> Any:
        logits, actions, returns, discounts, target, following = inputs
        return rlax.categorical_double_q_learning(
            atoms.numpy(), logits, actions, returns, discounts, atoms.numpy(), target, following
        )

    inputs = (logits, actions, returns, discounts, target, following)
    expected = jax.vmap(losses)(*(x.numpy() for x in inputs))
    assert_same(loss.total, expected.mean())
