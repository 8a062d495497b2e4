"""Interface of simulators to their actor: a vectorised environment that resets itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gala_rl.envs.validation import InvalidStep
from gala_rl.errors import SimulatorFailure
from gala_rl.imports import describe
from gala_rl.spaces import ActionSpec, ObservationSpec

_STAGGER = 1
"""Separates this random stream from others with the same seed."""


@dataclass(frozen=True)
class Episode:
    """A finished full game with its raw rewards; the loss of a life does not end a game.

    Attributes:
        simulator: index in 0 … B - 1 of the simulator that played it.
        score: sum of raw rewards.
        agent_steps: length.
        ended_at: seconds since 1970; ignored in comparisons.
    """

    simulator: int
    score: float
    agent_steps: int
    ended_at: float = field(default_factory=time.time, compare=False)


@dataclass(frozen=True)
class Transition:
    """Results of one step of B simulators.

    Attributes:
        observations: [B, ...] next observations; after an end, the first of the next episode.
        rewards: [B] float32, clipped if the protocol says so.
        terminated: [B] whether the return ends.
        truncated: [B] whether the episode was cut. A step with both `terminated` and `truncated`
            is a reset: the simulator ignored its action, so it has reward 0 and is not learned
            from. Only simulators with `resets_on_next_step` have such steps.
        final_observations: [B, ...] rows of truncated simulators hold their last observation;
            None when no episode was cut.
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
        """Slices of 0 … B - 1 that step together, in order.

        The network acts for one group while the C++ threads of another step: alternating
        sampling, "Accelerated Methods for Deep Reinforcement Learning", Stooke & Abbeel 2018.
        """

    @property
    def observation(self) -> ObservationSpec:
        """Spec of one simulator's observation."""

    @property
    def action(self) -> ActionSpec:
        """Spec of one simulator's action."""

    @property
    def frames_per_step(self) -> int:
        """Emulator frames per agent step; 1 where there is no emulator."""

    @property
    def resets_on_next_step(self) -> bool:
        """Whether the step after an end resets a simulator and ignores its action."""

    @property
    def failures(self) -> int:
        """Number of times a simulator raised, died or timed out and was rebuilt."""

    def reset(self, seed: int, stagger: int = 0) -> NDArray[Any]:
        """Start an episode in every simulator; the seed fixes all that follows. Return [B, ...].

        Args:
            seed: seed of all simulators.
            stagger: maximum number of random agent steps that a simulator plays first, so that
                simulators are at different points of their games. Games that end meanwhile are not
                reported, and the score of the game under way counts from here.
        """

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """Start a step of a group with actions [b] or [b, A], or store them if `recv` makes it."""

    def recv(self, group: int = 0) -> Transition:
        """Wait for the group's step that `send` started; B is the size of the group here.

        Raises:
            SimulatorFailure: when the learner cannot go on with these simulators.
        """

    def step(self, actions: NDArray[Any]) -> Transition:
        """`send` and `recv` in one; only with one group."""

    def get_state(self) -> dict[str, NDArray[Any]] | None:
        """Return the state of all simulators as arrays by name; None if it cannot be saved."""

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Continue from a state of `get_state`; raise a ValueError if that always returns None."""

    def close(self) -> None:
        """Release threads and memory."""


def random_actions(spec: ActionSpec, count: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return random actions [count] or [count, A] in the form in which the policy gives them."""
    if not spec.is_discrete:
        return rng.uniform(-1.0, 1.0, (count, spec.size)).astype(np.float32)
    if spec.sizes:
        return rng.integers(0, spec.sizes, (count, spec.size))
    return rng.integers(0, spec.size, count)


def environment_seed(seed: int) -> int:
    """Return the seed below 2^31 of a vector environment, which takes one for all simulators."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0] % 2**31)


@contextmanager
def fail_as_one(env: str, call: str) -> Iterator[None]:
    """Raise exceptions of a vector environment's "reset" or "step" as a SimulatorFailure.

    Such an environment cannot rebuild a single simulator: its learner ends and is restarted.
    """
    try:
        yield
    except InvalidStep as error:
        raise SimulatorFailure(f"{call}() of {env} failed: {error}") from error
    except Exception as error:
        raise SimulatorFailure(f"{call}() of {env} failed: {describe(error)}") from error


def stagger_generator(seed: int, simulator: int = 0) -> np.random.Generator:
    """Return the random stream of the steps that simulators play before the first rollout."""
    return np.random.default_rng((seed, simulator, _STAGGER))


class EpisodeCounter:
    """Count score and length of each simulator's current game.

    Attributes:
        scores: [B] sums of raw rewards.
        agent_steps: [B] lengths.
    """

    def __init__(self, simulators: int) -> None:
        self.scores = np.zeros(simulators, dtype=np.float64)
        self.agent_steps = np.zeros(simulators, dtype=np.int64)

    def add(
        self, rewards: NDArray[Any], done: NDArray[np.bool_], rows: slice = slice(0, None)
    ) -> list[Episode]:
        """Count one step; return finished games and reset the counters of their simulators.

        Args:
            rewards: [b] raw.
            done: [b] whether the full game ended with this step.
            rows: the b simulators that made the step; default: all.
        """
        scores, agent_steps = self.scores[rows], self.agent_steps[rows]
        scores += rewards
        agent_steps += 1
        if not done.any():
            return []
        finished = [
            Episode(rows.start + int(i), float(scores[i]), int(agent_steps[i]))
            for i in np.flatnonzero(done)
        ]
        scores[done] = 0.0
        agent_steps[done] = 0
        return finished
