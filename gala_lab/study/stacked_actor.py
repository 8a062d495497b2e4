"""The actor of a study: all learners act in one batch, each in its own simulators.

Axes: T = agent steps of a rollout, M = learners of all seeds, B = simulators of one learner.
Simulators m B … m B + B - 1 are learner m's. A `Trajectory` here has M * B simulators, in that
order.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_lab.study.stacked_network import Parameters, StackedNetwork
from gala_rl.envs import Episode, Simulators, Transition
from gala_rl.models.policies import categorical_log_prob_and_entropy, sample_categorical
from gala_rl.trajectory import Trajectory


class StackedActor:
    """Collects rollouts of M learners.

    Args:
        simulators: M * B of them, in one group.
        network: evaluates all learners.
        learners: M.
        steps: T.
        seed: seed of actions and simulators.
        with_behaviour: whether trajectories have `log_probs` and `values`.

    Attributes:
        trajectory: the latest rollout.
        bootstrap: [M * B] V(x_T) of the latest rollout.
        episodes: games that ended in the latest rollout.
    """

    def __init__(
        self,
        simulators: Simulators,
        network: StackedNetwork,
        learners: int,
        steps: int,
        seed: int,
        *,
        with_behaviour: bool,
    ) -> None:
        self.episodes: list[Episode] = []
        self._simulators, self._network, self._learners = simulators, network, learners
        self._generator = torch.Generator().manual_seed(seed)
        first = torch.from_numpy(simulators.reset(seed))
        self.bootstrap = torch.zeros(len(first))
        self.trajectory = Trajectory.allocate(
            steps,
            first,
            torch.zeros(len(first), dtype=torch.int64),
            torch.zeros(len(first), 0),
            torch.device("cpu"),
            with_behaviour=with_behaviour,
            has_resets=simulators.resets_on_next_step,
        )
        self.trajectory.observations[-1].copy_(first)

    @torch.no_grad()
    def collect(self, parameters: Parameters) -> Trajectory:
        """Collect T steps with the learners' current parameters; overwrite the last rollout."""
        storage, self.episodes = self.trajectory, []
        storage.observations[0].copy_(storage.observations[-1])
        storage.truncation_values.zero_()
        finals: list[tuple[int, NDArray[np.intp], Tensor]] = []
        for t in range(len(storage.rewards)):
            self._simulators.send(self._act(parameters, t).numpy())
            answer = self._simulators.recv()
            self._store(t, answer)
            if answer.final_observations is not None:
                cut = np.flatnonzero(answer.truncated)
                finals.append((t, cut, torch.from_numpy(answer.final_observations[cut])))
        for t, cut, observations in finals:
            storage.truncation_values[t, cut] = self._values_of(parameters, cut, observations)
        last = self._by_learner(storage.observations[-1])
        self.bootstrap = self._network.values(parameters, last).flatten()
        return storage

    def _act(self, parameters: Parameters, t: int) -> Tensor:
        storage = self.trajectory
        observations = self._by_learner(storage.observations[t])
        if storage.log_probs is None or storage.values is None:
            logits = self._network.policy(parameters, observations).flatten(0, 1)
            return storage.actions[t].copy_(sample_categorical(logits, self._generator))
        logits, values = (x.flatten(0, 1) for x in self._network(parameters, observations))
        storage.values[t] = values
        actions = storage.actions[t].copy_(sample_categorical(logits, self._generator))
        storage.log_probs[t] = categorical_log_prob_and_entropy(logits, actions)[0]
        return actions

    def _store(self, t: int, answer: Transition) -> None:
        storage = self.trajectory
        storage.observations[t + 1].numpy()[...] = answer.observations
        storage.rewards[t].numpy()[...] = answer.rewards
        storage.terminated[t].numpy()[...] = answer.terminated
        storage.truncated[t].numpy()[...] = answer.truncated
        self.episodes += answer.episodes

    def _values_of(
        self, parameters: Parameters, simulators: NDArray[np.intp], observations: Tensor
    ) -> Tensor:
        """Return V [K] of observations [K, ...] from K simulators, in increasing order."""
        learners = simulators * self._learners // self._simulators.count
        # A row per learner holds its observations, padded with zeros to the longest row.
        places = np.arange(len(learners)) - np.searchsorted(learners, learners)
        padded = observations.new_zeros(
            (self._learners, int(places.max()) + 1, *observations.shape[1:])
        )
        padded[learners, places] = observations
        return self._network.values(parameters, padded)[learners, places]

    def _by_learner(self, observations: Tensor) -> Tensor:
        """[M * B, ...] → [M, B, ...]."""
        return observations.view(self._learners, -1, *observations.shape[1:])
