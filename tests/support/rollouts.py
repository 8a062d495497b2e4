"""Rollouts to compute returns and advantages of: random ones, and single episodes."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from gala_rl.losses.boundaries import EpisodeBoundaries
from gala_rl.losses.returns import n_step_returns
from tests.support.loss_oracles import Steps


@dataclass(frozen=True)
class Rollout:
    """Each [T, B] but bootstrap_values [B]."""

    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    truncation_values: Tensor
    values: Tensor
    log_ratios: Tensor
    bootstrap_values: Tensor
    discount: float

    def returns(self) -> Tensor:
        return n_step_returns(self.rewards, self.boundaries, self.discount)

    @property
    def boundaries(self) -> EpisodeBoundaries:
        return EpisodeBoundaries(
            self.terminated, self.truncated, self.truncation_values, self.bootstrap_values
        )

    def simulator(self, b: int) -> "Rollout":
        """That one alone, [T, 1]."""
        tensors = {name: x for name, x in vars(self).items() if isinstance(x, Tensor)}
        alone: Any = {name: x[..., b : b + 1] for name, x in tensors.items()}
        return replace(self, **alone)

    def steps(self, b: int) -> Steps:
        """The same of one simulator, for the oracles."""
        return Steps(
            self.rewards[:, b].tolist(),
            self.terminated[:, b].tolist(),
            self.truncated[:, b].tolist(),
            self.truncation_values[:, b].tolist(),
            self.values[:, b].tolist(),
            self.bootstrap_values[b].item(),
            self.discount,
        )


def zeros(steps: int, simulators: int) -> Rollout:
    """Nothing happens and nothing ends."""
    floats = torch.zeros(steps, simulators, dtype=torch.float64)
    flags = torch.zeros(steps, simulators, dtype=torch.bool)
    return Rollout(floats, flags, flags, floats, floats, floats, floats[0], 0.9)


def one_episode(rewards: list[float], *, bootstrap: float = 0.0, discount: float = 0.9) -> Rollout:
    """One simulator without any end."""
    return replace(
        zeros(len(rewards), 1),
        rewards=torch.tensor(rewards, dtype=torch.float64)[:, None],
        bootstrap_values=torch.tensor([bootstrap], dtype=torch.float64),
        discount=discount,
    )


def flag(steps: int, *at: int) -> Tensor:
    """[steps, 1] false but at some steps."""
    flags = torch.zeros(steps, 1, dtype=torch.bool)
    flags[list(at)] = True
    return flags


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    steps, simulators = draw(st.integers(1, 7)), draw(st.integers(1, 4))

    def floats(*shape: int, bound: float = 10) -> Tensor:
        size = math.prod(shape)
        values = draw(st.lists(st.floats(-bound, bound), min_size=size, max_size=size))
        return torch.tensor(values, dtype=torch.float64).view(*shape)

    def flags() -> Tensor:
        size = steps * simulators
        values = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        return torch.tensor(values).view(steps, simulators)

    return Rollout(
        rewards=floats(steps, simulators),
        terminated=flags(),
        truncated=flags(),
        truncation_values=floats(steps, simulators),
        values=floats(steps, simulators),
        log_ratios=floats(steps, simulators, bound=2),
        bootstrap_values=floats(simulators),
        discount=draw(st.floats(0, 1)),
    )


def random_rollout(seed: int, steps: int, simulators: int) -> Rollout:
    """A long one with every flag set somewhere, both at once too."""
    generator = torch.Generator().manual_seed(seed)

    def floats(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def flags() -> Tensor:
        return torch.rand(steps, simulators, generator=generator) < 0.2

    shape = (steps, simulators)
    return Rollout(
        rewards=floats(*shape),
        terminated=flags(),
        truncated=flags(),
        truncation_values=floats(*shape),
        values=floats(*shape),
        log_ratios=floats(*shape),
        bootstrap_values=floats(simulators),
        discount=0.9,
    )
