"""Simulators that do nothing, for measuring what is around them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala_rl.envs import Transition
from gala_rl.envs.simulators import EpisodeCounter
from gala_rl.spaces import ActionSpec, ObservationSpec

EPISODE_STEPS = 200
"""Length of every episode; simulators end in turn, so that ends are spread over the steps."""


class NullSimulators:
    """Simulators with constant observations, no rewards and episodes of one length; `Simulators`.

    Args:
        count: B.
        observation: spec of one observation.
        action: spec of one action.
    """

    def __init__(self, count: int, observation: ObservationSpec, action: ActionSpec) -> None:
        self.count, self.observation, self.action = count, observation, action
        self.groups = (slice(0, count),)
        self.frames_per_step = 1
        self.resets_on_next_step = False
        self.failures = 0
        generator = np.random.default_rng(0)
        shape = (count, *observation.shape)
        self._observations: NDArray[Any] = (
            generator.integers(256, size=shape, dtype=np.uint8)
            if observation.is_image
            else generator.standard_normal(shape, dtype=np.float32)
        )
        self._rewards = np.zeros(count, dtype=np.float32)
        self._truncated = np.zeros(count, dtype=np.bool_)
        first_end = np.arange(count) % EPISODE_STEPS
        self._ends = first_end == np.arange(EPISODE_STEPS)[:, np.newaxis]
        self._episodes = EpisodeCounter(count)
        self._step = 0

    def reset(self, seed: int, stagger: int = 0) -> NDArray[Any]:
        """See `Simulators.reset`; neither argument changes anything."""
        self._step = 0
        return self._observations

    def send(self, actions: NDArray[Any], group: int = 0) -> None:
        """Ignore the actions."""

    def recv(self, group: int = 0) -> Transition:
        """See `Simulators.recv`; every answer consists of the same arrays, but for the ends."""
        ends = self._ends[self._step % EPISODE_STEPS]
        self._step += 1
        episodes = self._episodes.add(self._rewards, ends)
        return Transition(self._observations, self._rewards, ends, self._truncated, None, episodes)

    def step(self, actions: NDArray[Any]) -> Transition:
        """See `Simulators.step`."""
        self.send(actions)
        return self.recv()

    def get_state(self) -> None:
        """Return None: there is nothing worth saving."""

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Do nothing, since `get_state` gives nothing."""

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
