"""Returns, advantages and V-trace equal those of RLax and Stable-Baselines3."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.losses.advantages import generalized_advantages
from gala_rl.losses.vtrace import vtrace
from tests.support.rollouts import Rollout, random_rollout

pytestmark = pytest.mark.peers

STEPS, SIMULATORS = 12, 40

seeds = pytest.mark.parametrize("seed", range(3))
lambdas = pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95, 1.0])


def rewards_and_truncations(rollout: Rollout) -> Tensor:
    """[T, B] rewards for a library that knows one kind of end: what was cut off is paid at once."""
    cut_off = rollout.truncated & ~rollout.terminated
    return rollout.rewards + rollout.discount * rollout.truncation_values * cut_off


def ends(rollout: Rollout) -> Tensor:
    return rollout.terminated | rollout.truncated


def discounts(rollout: Rollout) -> Tensor:
    """[T, B] 0 where an episode ends."""
    return rollout.discount * (~ends(rollout)).double()


def all_values(rollout: Rollout) -> Tensor:
    """[T + 1, B]."""
    return torch.cat([rollout.values, rollout.bootstrap_values[None]])


def by_simulator(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """A function of RLax, which knows no axis B, on every simulator."""
    import jax

    return jax.vmap(function, in_axes=1, out_axes=1)(*(x.numpy() for x in inputs))


def assert_same(actual: Tensor, expected: Any, *, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(actual.numpy(), np.asarray(expected), rtol=rtol, atol=rtol)


def advantages_of(rollout: Rollout, gae_lambda: float) -> Tensor:
    return generalized_advantages(
        rollout.rewards,
        rollout.values,
        rollout.boundaries,
        rollout.discount,
        gae_lambda,
    )


@seeds
def test_returns_equal_rlax(rlax: Any, seed: int) -> None:
    rollout = random_rollout(seed, STEPS, SIMULATORS)

    def returns(rewards: Any, gammas: Any, following: Any) -> Any:
        return rlax.n_step_bootstrapped_returns(rewards, gammas, following, n=STEPS)

    expected = by_simulator(
        returns,
        rewards_and_truncations(rollout),
        discounts(rollout),
        all_values(rollout)[1:],
    )
    assert_same(rollout.returns(), expected)


@seeds
@lambdas
def test_advantages_equal_rlax(rlax: Any, seed: int, gae_lambda: float) -> None:
    rollout = random_rollout(seed, STEPS, SIMULATORS)

    def advantages(rewards: Any, gammas: Any, values: Any) -> Any:
        return rlax.truncated_generalized_advantage_estimation(rewards, gammas, gae_lambda, values)

    expected = by_simulator(
        advantages,
        rewards_and_truncations(rollout),
        discounts(rollout),
        all_values(rollout),
    )
    assert_same(advantages_of(rollout, gae_lambda), expected)


@seeds
@lambdas
def test_advantages_equal_stable_baselines3(
    stable_baselines3: Any, seed: int, gae_lambda: float
) -> None:
    rollout = random_rollout(seed, STEPS, SIMULATORS)
    buffer = stable_baselines3.common.buffers.RolloutBuffer(
        STEPS,
        Box(-1, 1, (1,)),
        Discrete(2),
        device="cpu",
        gae_lambda=gae_lambda,
        gamma=rollout.discount,
        n_envs=SIMULATORS,
    )
    nothing: NDArray[Any] = np.zeros((SIMULATORS, 1))
    ended = ends(rollout).numpy()
    starts = np.concatenate([np.zeros((1, SIMULATORS), dtype=bool), ended[:-1]])
    rewards = rewards_and_truncations(rollout).numpy()
    for t in range(STEPS):
        no_log_prob = torch.zeros(SIMULATORS)
        buffer.add(nothing, nothing, rewards[t], starts[t], rollout.values[t], no_log_prob)
    buffer.compute_returns_and_advantage(rollout.bootstrap_values, ended[-1])
    # It computes in single precision.
    assert_same(advantages_of(rollout, gae_lambda), buffer.advantages, rtol=1e-5)


@seeds
@pytest.mark.parametrize(("clip_rho", "clip_pg_rho"), [(1.0, 1.0), (1.0, 0.5), (2.5, 1.7)])
def test_vtrace_equals_rlax(rlax: Any, seed: int, clip_rho: float, clip_pg_rho: float) -> None:
    rollout = random_rollout(seed, STEPS, SIMULATORS)

    def errors_and_advantages(
        values: Any, following: Any, rewards: Any, gammas: Any, ratios: Any
    ) -> Any:
        result = rlax.vtrace_td_error_and_advantage(
            values,
            following,
            rewards,
            gammas,
            ratios,
            clip_rho_threshold=clip_rho,
            clip_pg_rho_threshold=clip_pg_rho,
        )
        return result.errors, result.pg_advantage

    errors, advantages = by_simulator(
        errors_and_advantages,
        rollout.values,
        all_values(rollout)[1:],
        rewards_and_truncations(rollout),
        discounts(rollout),
        rollout.log_ratios.exp(),
    )
    ours = vtrace(
        rollout.log_ratios,
        rollout.rewards,
        rollout.values,
        rollout.boundaries,
        rollout.discount,
        clip_rho=clip_rho,
        clip_pg_rho=clip_pg_rho,
    )
    assert_same(ours.targets - rollout.values, errors)
    assert_same(ours.advantages, advantages)
