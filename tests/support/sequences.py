"""Sequences as a replay cuts them from episodes: every end at every place, before and after."""

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.support.loss_oracles import literal_rescaled_target

OUTSIDE = 1e3
"""Value of rows that belong to no episode: it must never be read."""
ACTIONS = 3


@dataclass(frozen=True)
class Cut:
    """An episode, and where the learning part of a sequence lies in it.

    `q_values` and `target_q_values` are [T + 1, A], those of the final observation too; `first` is
    the step of the episode at the first row, negative where the episode begins later.
    """

    rewards: list[float]
    actions: list[int]
    q_values: list[list[float]]
    target_q_values: list[list[float]]
    terminates: bool
    first: int

    def values(self) -> list[float]:
        """[T + 1] double-Q values."""
        return [
            theirs[ours.index(max(ours))]
            for ours, theirs in zip(self.q_values, self.target_q_values, strict=True)
        ]

    def error(self, t: int, n_step: int, discount: float) -> float:
        """TD error of step t of the episode."""
        target = literal_rescaled_target(
            t, self.rewards, self.values(), self.terminates, n_step, discount
        )
        return target - self.q_values[t][self.actions[t]]


@dataclass(frozen=True)
class Sequences:
    """N cuts as one batch of k + n rows."""

    cuts: list[Cut]
    learned: int
    n_step: int
    discount: float

    def learned_steps(self, b: int) -> list[tuple[int, int]]:
        """Row and step of the episode of what is learned from."""
        cut = self.cuts[b]
        steps = [(row, cut.first + row) for row in range(self.learned)]
        return [(row, t) for row, t in steps if 0 <= t < len(cut.rewards)]

    def tensors(self) -> dict[str, Tensor]:
        """Arguments of `r2d2_loss`."""
        rows, count = self.learned + self.n_step, len(self.cuts)
        q = torch.full((rows, count, ACTIONS), OUTSIDE, dtype=torch.float64)
        flags = torch.zeros(rows, count, dtype=torch.bool)
        result: dict[str, Tensor] = {
            "q_values": q,
            "target_q_values": -q,
            "actions": torch.zeros(rows, count, dtype=torch.int64),
            "rewards": torch.zeros(rows, count, dtype=torch.float64),
            "terminated": flags,
            "truncated": flags.clone(),
            "is_learned": flags[: self.learned].clone(),
        }
        for b, cut in enumerate(self.cuts):
            for row in range(rows):
                self._fill(result, row, b, cut)
        return result

    def _fill(self, result: dict[str, Tensor], row: int, b: int, cut: Cut) -> None:
        t, length = cut.first + row, len(cut.rewards)
        if not 0 <= t < length + (not cut.terminates):
            return
        result["q_values"][row, b] = torch.tensor(cut.q_values[t])
        result["target_q_values"][row, b] = torch.tensor(cut.target_q_values[t])
        if t == length:
            return
        result["actions"][row, b] = cut.actions[t]
        result["rewards"][row, b] = cut.rewards[t]
        if t == length - 1:
            result["terminated" if cut.terminates else "truncated"][row, b] = True
        if row < self.learned:
            result["is_learned"][row, b] = True


quarters = st.integers(-12, 12).map(lambda x: x / 4)


def cuts(learned: int, n_step: int) -> st.SearchStrategy[Cut]:
    """Episodes of up to three sequences that end before, in and behind the learning part."""

    def of_length(length: int) -> st.SearchStrategy[Cut]:
        def listed(of: Any, count: int) -> Any:
            return st.lists(of, min_size=count, max_size=count)

        rows = listed(listed(quarters, ACTIONS), length + 1)
        return st.builds(
            Cut,
            rewards=listed(quarters, length),
            actions=listed(st.integers(0, ACTIONS - 1), length),
            q_values=rows,
            target_q_values=rows,
            terminates=st.booleans(),
            first=st.integers(1 - learned, length),
        )

    return st.integers(1, 3 * (learned + n_step)).flatmap(of_length)


@st.composite
def sequences(draw: st.DrawFn) -> Sequences:
    learned, n_step = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    drawn = draw(st.lists(cuts(learned, n_step), min_size=1, max_size=3))
    return Sequences(drawn, learned, n_step, draw(st.sampled_from([0.0, 0.9, 0.997, 1.0])))
