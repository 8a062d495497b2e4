"""The actor: runs its simulators with the learner's current policy and fills a trajectory."""

from collections import deque

import numpy as np
import torch
from torch import Tensor

from gala_rl.envs import Episode, Simulators, Transition
from gala_rl.models.actor_critic import ActorCritic
from gala_rl.trajectory import Trajectory


class Actor:
    """B simulators and the network that plays them.

    The trajectory is written into storage that is allocated once; `collect` returns the same
    object each time, valid until the next call.

    Args:
        simulators: what to act in.
        model: the policy; shared with the learner, so always the newest.
        rollout_steps: T.
        seed: of action sampling and, through it, of the simulators.

    Attributes:
        model: the policy that plays.
        episodes: finished full games that nobody has taken yet, oldest first.
        generator: random state of action sampling.
    """

    def __init__(
        self, simulators: Simulators, model: ActorCritic, rollout_steps: int, seed: int
    ) -> None:
        self.simulators = simulators
        self.episodes: deque[Episode] = deque()
        self.model = model
        self._device = next(model.parameters()).device
        streams = np.random.SeedSequence(seed).generate_state(2, dtype=np.uint64)
        self.generator = torch.Generator(self._device).manual_seed(int(streams[0] >> 1))
        first = self._tensor(simulators.reset(int(streams[1] % 2**31)))
        with torch.no_grad():
            # A generator of its own: an example action must not advance the real one.
            action = model.sample(first, torch.Generator(self._device))
        self.trajectory = Trajectory.allocate(
            rollout_steps,
            first,
            action,
            self._device,
            model.allocate_activations(rollout_steps, first),
        )
        self.trajectory.observations[-1].copy_(first)

    @torch.no_grad()
    def collect(self) -> Trajectory:
        """Make T agent steps in every simulator."""
        storage = self.trajectory
        storage.observations[0].copy_(storage.observations[-1])
        for t in range(storage.rewards.shape[0]):
            record = None if storage.activations is None else storage.activations.at(t)
            actions = self.model.sample(storage.observations[t], self.generator, record)
            storage.actions[t].copy_(actions)
            transition = self.simulators.step(actions.cpu().numpy())
            self._store(t, transition)
        return storage

    def _store(self, t: int, transition: Transition) -> None:
        storage = self.trajectory
        storage.observations[t + 1].copy_(self._tensor(transition.observations))
        storage.rewards[t].copy_(torch.from_numpy(transition.rewards))
        storage.terminated[t].copy_(torch.from_numpy(transition.terminated))
        storage.truncated[t].copy_(torch.from_numpy(transition.truncated))
        storage.truncation_values[t].zero_()
        if transition.final_observations is not None:
            cut = torch.from_numpy(transition.truncated)
            final = self._tensor(transition.final_observations[transition.truncated])
            storage.truncation_values[t, cut] = self.model.values(final)
        self.episodes.extend(transition.episodes)

    def _tensor(self, observations: np.ndarray) -> Tensor:
        return torch.from_numpy(observations).to(self._device, non_blocking=True)
