"""The interface between an actor and the simulators it drives, all of them in one call."""

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gala_rl.spaces import ActionSpec, ObservationSpec


@dataclass(frozen=True)
class Episode:
    """A finished full game, as it is reported: raw rewards, lives don't matter.

    Attributes:
        simulator: index of the simulator that played it, among all B.
        score: sum of raw rewards.
        agent_steps: its length.
        ended_at: seconds since 1970; no part of what is compared.
    """

    simulator: int
    score: float
    agent_steps: int
    ended_at: float = field(default_factory=time.time, compare=False)


@dataclass(frozen=True)
class Transition:
    """The answer of B simulators to one action each.

    Attributes:
        observations: [B, ...] what to act on next; after an end, the next episode's first.
        rewards: [B] float32, as training sees them.
        terminated: [B] the return ends.
        truncated: [B] the episode was cut; never together with `terminated`.
        final_observations: [B, ...] rows of truncated simulators hold their last observation;
            None when none was truncated.
        episodes: full games that ended in this step.
    """

    observations: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_observations: NDArray[Any] | None
    episodes: list[Episode]


class Simulators(Protocol):
    """B copies of one environment that reset themselves when an episode ends."""

    @property
    def count(self) -> int:
        """B."""

    @property
    def groups(self) -> tuple[slice, ...]:
        """Rows of [0, B) that step together, in order.

        The network acts for one group while the C++ threads of another step: alternating
        sampling, "Accelerated Methods for Deep Reinforcement Learning", Stooke & Abbeel 2018.
        """

    @property
    def observation(self) -> ObservationSpec:
        """One simulator's observation."""

    @property
    def action(self) -> ActionSpec:
        """One simulator's action."""

    @property
    def frames_per_step(self) -> int:
        """Emulator frames in an agent step; 1 where there is no emulator."""

    @property
    def failures(self) -> int:
        """Simulators that raised, died or were silent and were built anew, so far."""

    def reset(self, seed: int) -> NDArray[Any]:
        """Start new episodes everywhere; the seed fixes all that follows. Returns [B, ...]."""

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """Begin one agent step in each simulator of a group with actions [b] or [b, A]."""

    def recv(self, group: int = 0) -> Transition:
        """Wait for the end of the step that was begun last; every [B] is the group's [b]."""

    def step(self, actions: NDArray[Any]) -> Transition:
        """`send` and `recv` in one, where there is one group."""

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """The complete state of all simulators as named arrays; None if it cannot be saved."""

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Continue from a state that `get_state` returned."""

    def close(self) -> None:
        """Release threads and memory."""


class EpisodeCounter:
    """Sums raw rewards and steps of each simulator's current game.

    Args:
        simulators: how many.
        first: index of the first of them, among all B.
    """

    def __init__(self, simulators: int, first: int = 0) -> None:
        self._first = first
        self.scores = np.zeros(simulators, dtype=np.float64)
        self.agent_steps = np.zeros(simulators, dtype=np.int64)

    def add(self, rewards: NDArray[Any], over: NDArray[np.bool_]) -> list[Episode]:
        """Count one step; returns the games that are over and starts theirs anew.

        Args:
            rewards: [B] raw.
            over: [B] whether the full game ended with this step.
        """
        self.scores += rewards
        self.agent_steps += 1
        if not over.any():
            return []
        finished = [
            Episode(self._first + int(i), float(self.scores[i]), int(self.agent_steps[i]))
            for i in np.flatnonzero(over)
        ]
        self.scores[over] = 0.0
        self.agent_steps[over] = 0
        return finished
