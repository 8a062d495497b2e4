"""Made-up tapes of what simulators show, and trajectories cut from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gala_rl.trajectory import Trajectory

Start = Literal["zero", "repeat", "no-ops", "continue"]
"""Older images of an episode's first stack: as ALE, as EnvPool, of no-ops, after a lost life."""


class Episode(NamedTuple):
    length: int
    is_truncated: bool = False
    start: Start = "zero"


@dataclass(frozen=True)
class Step:
    """What a simulator showed, what was done, and its answer; `final` only where truncated."""

    observation: NDArray[Any]
    action: int
    reward: float
    terminated: bool
    truncated: bool
    is_first: bool
    state: NDArray[np.float32]
    final: NDArray[Any]
    error: float

    @property
    def is_reset(self) -> bool:
        return self.terminated and self.truncated


class Steps(list[Step]):
    """Steps that are printed as letters, or Hypothesis fills pages with an example."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        ends = {(True, False): "T", (False, True): "C", (True, True): "R"}
        printer.text("".join(ends.get((s.terminated, s.truncated), ".") for s in self))


class Tape:
    """Steps of one simulator; every image, action, reward and state is another.

    Args:
        episodes: what is played, in order.
        stack: images per observation [stack, 2, 2] uint8; 1: observations are vectors [3].
        has_resets: whether the step after an end resets the simulator.
        seed: seed.
    """

    def __init__(
        self, episodes: Sequence[Episode], stack: int = 1, has_resets: bool = False, seed: int = 0
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._stack = stack
        self.steps = Steps()
        older = np.zeros((stack - 1, 2, 2), np.uint8)
        for index, episode in enumerate(episodes):
            start = episode.start
            if start == "continue" and index == 0:
                start = "zero"
            older = self._play(episode._replace(start=start), older)
            if has_resets:
                self._reset()
                older = self.steps[-1].observation[1:] if stack > 1 else older

    def _image(self) -> NDArray[Any]:
        if self._stack == 1:
            return self._rng.normal(size=(1, 3)).astype(np.float32)
        return self._rng.integers(1, 255, size=(1, 2, 2), dtype=np.uint8)

    def _play(self, episode: Episode, older: NDArray[Any]) -> NDArray[Any]:
        image = self._image()
        if episode.start != "continue" and self._stack > 1:
            older = np.zeros_like(older)
            if episode.start == "repeat":
                older[:] = image
            elif episode.start == "no-ops":
                older[1:] = self._rng.integers(1, 255, size=older[1:].shape)
        for step in range(episode.length):
            stack = np.concatenate([older, image]) if self._stack > 1 else image
            is_last = step == episode.length - 1
            following = self._image()
            final = np.concatenate([stack[1:], following])
            self._store(
                stack,
                is_last and not episode.is_truncated,
                is_last and episode.is_truncated,
                step == 0,
                final,
            )
            older, image = stack[1:], following
        return older

    def _store(
        self,
        stack: NDArray[Any],
        terminated: bool,
        truncated: bool,
        is_first: bool,
        final: NDArray[Any],
    ) -> None:
        state = self._rng.normal(size=2).astype(np.float32)
        self.steps.append(
            Step(
                stack if self._stack > 1 else stack[0],
                int(self._rng.integers(1000)),
                float(np.float32(self._rng.normal())),
                terminated,
                truncated,
                is_first,
                np.zeros_like(state) if is_first else state,
                final if self._stack > 1 else final[0],
                float(np.float32(self._rng.exponential())),
            )
        )

    def _reset(self) -> None:
        """The simulator ignores an action; what it showed was the final observation."""
        last = self.steps[-1]
        images = last.final if self._stack > 1 else last.final[None]
        self._store(images, True, True, True, images)


def rollout(
    tapes: Sequence[Sequence[Step]], start: int, length: int
) -> tuple[Trajectory, torch.Tensor]:
    """Return steps start … start + length - 1 of all tapes, and their errors [T, B]."""
    rows = [[tape[t] for tape in tapes] for t in range(start, start + length + 1)]

    def stacked(name: str, count: int = length) -> torch.Tensor:
        return torch.from_numpy(
            np.stack(
                [np.stack([np.asarray(getattr(s, name)) for s in row]) for row in rows[:count]]
            )
        )

    state = torch.from_numpy(np.stack([s.state for s in rows[-1]]))
    trajectory = Trajectory(
        observations=stacked("observation", length + 1),
        actions=stacked("action"),
        rewards=stacked("reward").float(),
        terminated=stacked("terminated"),
        truncated=stacked("truncated"),
        truncation_values=torch.zeros(length, len(tapes)),
        is_first=stacked("is_first", length + 1),
        initial_state=stacked("state")[0],
        final_state=state,
        has_resets=any(step.is_reset for row in rows for step in row),
        # Rows of other steps hold garbage.
        final_observations=torch.where(
            (stacked("truncated") & ~stacked("terminated")).reshape(
                length, len(tapes), *[1] * (stacked("final").ndim - 2)
            ),
            stacked("final"),
            torch.tensor(77, dtype=stacked("final").dtype),
        ),
        states=stacked("state"),
    )
    return trajectory, stacked("error").float()
