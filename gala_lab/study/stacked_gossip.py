"""Gossip of a study: learners of each seed mix in rounds, with scripted delays and missed mixes.

Axes: M = S * n learners, S = seeds, n = learners of one run, P = parameters. Learner s n + i is
learner i of seed s.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala_lab.study.options import RANDOM_MATCHING
from gala_rl.gossip.topology import Topology, make


class StackedGossip:
    """Mixes parameters as Algorithm 1 of GALA does, but in rounds.

    A learner sends its parameters after its update and then averages them with the messages of its
    in-neighbours, which may be some rounds old: x ← (x + Σ_j m_j) / (1 + number of messages).

    Args:
        topology: name of the topology, or "random-matching".
        learners: n.
        seeds: S.
        delays: age in rounds of the messages to each learner, [n]; one number: to all.
        missed: probability that a learner does not mix in a round.
        warm_up_rounds: rounds at the start in which all learners of a seed average fully.
        seed: seed of pairs and of missed mixes.
    """

    def __init__(
        self,
        topology: str,
        learners: int,
        seeds: int,
        *,
        delays: int | Sequence[int] = 0,
        missed: float = 0.0,
        warm_up_rounds: int = 0,
        seed: int = 0,
    ) -> None:
        self._learners, self._seeds, self._missed = learners, seeds, missed
        self._warm_up_rounds, self._round = warm_up_rounds, 0
        self._delays = np.broadcast_to(np.asarray(delays), (learners,))
        self._graph = _graph(topology, learners)
        self._sent: deque[Tensor] = deque(maxlen=int(self._delays.max()) + 1)
        self._rng = np.random.default_rng([seed, learners])

    def mix(self, parameters: Tensor) -> Tensor:
        """Return parameters [M, P] after a round of mixing."""
        number, self._round = self._round, self._round + 1
        if self._learners == 1:
            return parameters
        self._sent.append(parameters)
        by_seed = parameters.view(self._seeds, self._learners, -1)
        if number < self._warm_up_rounds:
            return by_seed.mean(1, keepdim=True).expand_as(by_seed).flatten(0, 1)
        mixes = self._rng.random(len(parameters)) >= self._missed
        total, count = parameters, np.ones(len(parameters), dtype=np.float32)
        for senders in self._senders(number):
            arrived = mixes & (self._delays[np.arange(len(parameters)) % self._learners] <= number)
            received = torch.where(_column(arrived), self._messages(senders), 0.0)
            total, count = total + received, count + arrived
        return total / _column(count)

    def _messages(self, senders: NDArray[np.int64]) -> Tensor:
        """Return the message [M, P] to each learner from its sender [M], delayed as configured."""
        receivers = np.arange(len(senders))
        late = self._delays[receivers % self._learners]
        messages = self._sent[-1][senders]
        for delay in set(late) - {0}:
            if delay < len(self._sent):
                rows = receivers[late == delay]
                messages[rows] = self._sent[-1 - delay][senders[rows]]
        return messages

    def _senders(self, number: int) -> list[NDArray[np.int64]]:
        """Return the senders [M] of each learner's first, second, … message in a round."""
        offsets = np.arange(self._seeds).repeat(self._learners) * self._learners
        if self._graph is None:
            return [self._pairs() + offsets]
        edges = self._graph.rounds[number % self._graph.period]
        return [np.tile(column, self._seeds) + offsets for column in np.array(edges).T]

    def _pairs(self) -> NDArray[np.int64]:
        """Return each learner's partner [M] within its seed; one left over is its own partner."""
        partners = np.tile(np.arange(self._learners), (self._seeds, 1))
        orders = self._rng.permuted(partners, axis=1)
        even = self._learners - self._learners % 2
        left, right = orders[:, 0:even:2], orders[:, 1:even:2]
        rows = np.arange(self._seeds)[:, None]
        partners[rows, left], partners[rows, right] = right, left
        return partners.ravel()


def _graph(topology: str, learners: int) -> Topology | None:
    if topology == RANDOM_MATCHING or learners == 1:
        return None
    return make(topology, learners)


def _column(values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(values).unsqueeze(-1)
