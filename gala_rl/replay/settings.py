"""Settings of a replay, from which its memory is known before it is allocated."""

from dataclasses import dataclass

import numpy as np

from gala_rl.errors import UserError
from gala_rl.spaces import ObservationSpec


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """What a replay stores, and what one of its items is.

    An item is what is sampled and has a priority: `learned_steps` steps of an episode, up to
    `burn_in` steps before them and up to `n_steps` after them. Every step of an episode is learned
    in exactly one item: items begin with every `learned_steps`-th step.

    Attributes:
        size: agent steps of all simulators.
        simulators: number of simulators.
        observation: spec of an observation.
        frame_stack: images in an observation, of which all but the last are those of the steps
            before; 1 if observations are no such stacks.
        state_size: S, of a recurrent network; 0 without memory.
        burn_in: l; 0 for transitions.
        learned_steps: k; 1 for transitions.
        n_steps: n.
        discount: γ of the returns of transitions; sequences have none.
        priority_exponent: exponent of priorities; 0: all items are equally likely.
        importance_exponent: exponent of importance weights; 0: all weights are 1.
        max_share: share of the largest error in a sequence's priority, beside the mean error.

    Raises:
        UserError: if the size is too small for a single item per simulator.
    """

    size: int
    simulators: int
    observation: ObservationSpec
    frame_stack: int = 1
    state_size: int = 0
    burn_in: int = 0
    learned_steps: int = 1
    n_steps: int = 1
    discount: float = 0.99
    priority_exponent: float = 0.0
    importance_exponent: float = 0.0
    max_share: float = 0.9

    def __post_init__(self) -> None:
        if self.size < self.smallest_size:
            raise UserError(
                f"replay_size {self.size:,} is too small for items of {self.simulators:,} "
                f"simulators: use at least {self.smallest_size:,}"
            )

    @property
    def smallest_size(self) -> int:
        """The smallest size in which every simulator has room for an item.

        A slot more is for the action before the item, one for the final observation.
        """
        slots = self.burn_in + self.learned_steps + self.n_steps + self.frame_stack + 1
        return slots * self.simulators

    @property
    def slots(self) -> int:
        """Steps per simulator."""
        return self.size // self.simulators

    @property
    def state_slots(self) -> int:
        """States per simulator: one every `learned_steps` steps; see `StepRing`."""
        return self.slots // self.learned_steps + 2

    @property
    def frame_size(self) -> int:
        """Numbers in the newest image of an observation."""
        return self.observation.size // self.frame_stack

    @property
    def observation_type(self) -> np.dtype[np.generic]:
        """uint8 for images, float32 for vectors."""
        return np.dtype(np.uint8 if self.observation.is_image else np.float32)
