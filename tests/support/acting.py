"""What tests of actors act with: a network that notes what it is asked, simulators in groups."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.envs import Episode, Transition
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.spaces import ActionSpec, ObservationSpec
from gala_rl.trajectory import Activations, Trajectory

SIMULATORS, STEPS = 3, 5
LENGTH = 7
"""Agent steps per episode of the counting environments."""


class Recorder(ActorCritic):
    """Notes what it is asked; its values name the observation: 100 · episode + 10 · step + action.

    Its actions are fair coins from the given generator.
    """

    def __init__(self) -> None:
        super().__init__(ObservationSpec((3,), False), ActionSpec(2, True))
        self.acted_on: list[Tensor] = []
        self.valued: list[Tensor] = []

    def act(
        self,
        observations: Tensor,
        generator: torch.Generator,
        state: Tensor | None = None,
        record: Activations | None = None,
    ) -> Tensor:
        self.acted_on.append(observations.clone())
        return self.pick(observations, generator)

    def pick(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (len(observations),), generator=generator)

    def values(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        self.valued.append(observations.clone())
        return observations @ torch.tensor([100.0, 10.0, 1.0])[: observations.shape[1]]


class Staggered:
    """Simulator b is truncated at every (b + 2)nd step; rows that must not be read hold garbage."""

    count = SIMULATORS
    observation = ObservationSpec((3,), False)
    action = ActionSpec(2, True)
    frames_per_step = 1
    failures = 0
    resets_on_next_step = False

    def __init__(self, groups: int = 1) -> None:
        edges = [SIMULATORS * g // groups for g in range(groups + 1)]
        self.groups = tuple(slice(*ends) for ends in itertools.pairwise(edges))
        self.steps = [0] * groups
        self.tape: list[tuple[str, int]] = []

    def _rows(self, steps: int) -> NDArray[np.float32]:
        return np.array([[steps, b, 0] for b in range(SIMULATORS)], dtype=np.float32)

    def reset(self, seed: int, stagger: int = 0) -> NDArray[np.float32]:
        return self._rows(0)

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        rows = self.groups[group]
        assert actions.shape == (rows.stop - rows.start,)
        self.tape.append(("send", group))

    def recv(self, group: int = 0) -> Transition:
        self.tape.append(("recv", group))
        self.steps[group] += 1
        rows, steps = self.groups[group], self.steps[group]
        cut = np.array([steps % (b + 2) == 0 for b in range(SIMULATORS)])
        final = np.where(cut[:, None], -self._rows(steps), np.float32(1e9))[rows]
        return Transition(
            observations=self._rows(steps)[rows],
            rewards=np.full(SIMULATORS, steps, dtype=np.float32)[rows],
            terminated=np.zeros(SIMULATORS, dtype=np.bool_)[rows],
            truncated=cut[rows],
            final_observations=final if cut[rows].any() else None,
            episodes=[Episode(int(b), 0.0, int(b) + 2) for b in np.flatnonzero(cut[rows])],
        )

    def step(self, actions: NDArray[Any]) -> Transition:
        self.send(actions)
        return self.recv()

    def get_state(self) -> None:
        return None

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        raise ValueError("this state cannot be set")

    def close(self) -> None:
        self.tape.clear()


def collect(actor: Actor, rollouts: int) -> list[Trajectory]:
    return [copy.deepcopy(actor.collect()) for _ in range(rollouts)]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """[rollouts * T, B, ...]"""
    return torch.cat(list(parts))
