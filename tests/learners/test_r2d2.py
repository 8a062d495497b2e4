"""Initial priorities of a rollout's steps are those of a literal loop over its returns."""

import math
from dataclasses import replace

import pytest
import torch

from gala_rl.learners.r2d2 import step_errors
from gala_rl.losses.value_rescaling import rescaled, unscaled
from gala_rl.methods.r2d2 import R2D2Settings
from gala_rl.trajectory import Trajectory

T, B = 9, 40


def rollout(seed: int) -> Trajectory:
    """Random numbers, with ends of both kinds."""
    generator = torch.Generator().manual_seed(seed)
    observation, action, state = (
        torch.zeros(B, 1),
        torch.zeros(B, dtype=torch.int64),
        torch.zeros(0),
    )
    trajectory = Trajectory.allocate(
        T, observation, action, state.expand(B, 0), torch.device("cpu"), with_behaviour=True
    ).with_action_values()
    for name in ("rewards", "values", "action_values"):
        getattr(trajectory, name).copy_(torch.randn(T, B, generator=generator))
    kind = torch.rand(T, B, generator=generator)
    trajectory.terminated.copy_(kind < 0.1)
    trajectory.truncated.copy_(kind > 0.9)
    finals = torch.randn(T, B, generator=generator)
    trajectory.truncation_values.copy_(finals * trajectory.truncated)
    return trajectory


def literal(trajectory: Trajectory, t: int, b: int, n: int, discount: float) -> float:
    """|δ| of a step; NaN where it needs what comes after the rollout."""
    assert trajectory.values is not None
    assert trajectory.action_values is not None
    total, bootstrap = 0.0, None
    for j in range(n):
        if t + j >= T:
            return math.nan
        total += discount**j * float(trajectory.rewards[t + j, b])
        if trajectory.terminated[t + j, b]:
            bootstrap = 0.0
            break
        if trajectory.truncated[t + j, b]:
            value = unscaled(trajectory.truncation_values[t + j, b])
            bootstrap = discount ** (j + 1) * float(value)
            break
    if bootstrap is None:
        if t + n >= T:
            return math.nan
        bootstrap = discount**n * float(unscaled(trajectory.values[t + n, b]))
    target = rescaled(torch.tensor(total + bootstrap))
    return abs(float(target - trajectory.action_values[t, b]))


@pytest.mark.parametrize("n", [1, 3, 9, 12])
def test_errors_are_those_of_returns_that_are_added_up_step_by_step(n: int) -> None:
    trajectory = rollout(n)
    settings = R2D2Settings(n_step=n, discount=0.9)
    found = step_errors(settings, trajectory)
    expected = torch.tensor(
        [[literal(trajectory, t, b, n, 0.9) for b in range(B)] for t in range(T)]
    )
    assert expected.isnan().any()
    assert not expected.isnan().all()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_values_are_needed() -> None:
    with pytest.raises(ValueError, match="action values"):
        step_errors(R2D2Settings(), replace(rollout(0), action_values=None))
