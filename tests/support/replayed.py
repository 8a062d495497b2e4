"""What an actor went through in one simulator, step by step, and sequences cut from it by hand."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gala_rl.actor import Actor
from gala_rl.replay import SampleKeys, SequenceBatch

FinalObservation = Callable[[int, int], Tensor]
"""(step, simulator) → the final observation of the episode that was truncated there."""


class Cut(NamedTuple):
    """A sequence of one item, and the step of the stream that each of its rows shows; else None."""

    batch: SequenceBatch
    steps: list[int | None]


class Stream:
    """Consecutive rollouts as one; M steps of B simulators.

    `states` has the state before the step that began each rollout.
    """

    def __init__(self, actor: Actor, rollouts: int, final: FinalObservation) -> None:
        parts = [copy.deepcopy(actor.collect()) for _ in range(rollouts)]
        self.observations = torch.cat([part.observations[:-1] for part in parts])
        self.is_first = torch.cat([part.is_first[:-1] for part in parts])
        self.actions = torch.cat([part.actions for part in parts])
        self.rewards = torch.cat([part.rewards for part in parts])
        self.terminated = torch.cat([part.terminated for part in parts])
        self.truncated = torch.cat([part.truncated for part in parts])
        self.truncation_values = torch.cat([part.truncation_values for part in parts])
        values = [part.values for part in parts if part.values is not None]
        chosen = [part.action_values for part in parts if part.action_values is not None]
        self.values, self.action_values = torch.cat(values), torch.cat(chosen)
        rollout_steps = len(parts[0].rewards)
        self.states = {i * rollout_steps: part.initial_state for i, part in enumerate(parts)}
        self._final = final

    def episodes(self, b: int) -> list[range]:
        """Steps of each episode of a simulator, the last of which may go on."""
        firsts = self.is_first[:, b].nonzero().flatten().tolist()
        ends = [*firsts[1:], len(self.rewards)]
        return [range(*pair) for pair in zip(firsts, ends, strict=True)]

    def cut(self, b: int, episode: range, start: int, burn_in: int, learned: int, n: int) -> Cut:
        """Cut the rows of one episode that lie in a window that begins at step `start`."""
        steps = range(start, start + burn_in + learned + n)
        rows = len(steps)
        previous = torch.zeros(rows, 1)
        floats, flags = torch.zeros(rows, 1), torch.zeros(rows, 1, dtype=torch.bool)
        batch = SequenceBatch(
            observations=torch.zeros(rows, 1, *self.observations.shape[2:]),
            actions=torch.zeros(rows, 1, dtype=torch.int64),
            rewards=floats,
            previous_actions=torch.zeros(rows, 1, dtype=torch.int64),
            previous_rewards=previous,
            terminated=flags,
            truncated=flags.clone(),
            is_first=flags.clone(),
            is_learned=flags[:learned].clone(),
            state=self.states[start][b : b + 1].clone(),
            weights=torch.ones(1),
            keys=SampleKeys(*(np.zeros(1, dtype=np.int64) for _ in range(3))),
        )
        shown: list[int | None] = [None] * rows
        for row, t in enumerate(steps):
            if t == episode.stop and self.truncated[t - 1, b]:
                batch.observations[row, 0] = self._final(t - 1, b)
            elif t in episode:
                shown[row] = t
                batch.observations[row, 0] = self.observations[t, b]
                for name in ("actions", "rewards", "terminated", "truncated", "is_first"):
                    getattr(batch, name)[row, 0] = getattr(self, name)[t, b]
                if burn_in <= row < burn_in + learned:
                    batch.is_learned[row - burn_in, 0] = True
            else:
                continue
            begins = t == episode.start
            batch.previous_actions[row, 0] = -1 if begins else self.actions[t - 1, b]
            batch.previous_rewards[row, 0] = 0.0 if begins else self.rewards[t - 1, b]
        return Cut(batch, shown)
