"""Changes of what the package does, for measurements of the choices that it has not made."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from unittest.mock import patch

import numpy as np
from torch import Tensor

from gala_rl.agent import Agent
from gala_rl.gossip import Gossip, MemoryNetwork
from gala_rl.learners.replay_learner import ReplayLearner


@contextmanager
def own_targets() -> Iterator[None]:
    """Copy a learner's parameters as soon as the copy is due, before the next mix."""
    descend = ReplayLearner._descend
    copies: dict[int, Tensor] = {}

    def step(self: ReplayLearner, learning_rate: float, rng: np.random.Generator) -> Tensor:
        row = descend(self, learning_rate, rng)
        if self.gradient_steps % self._settings.target_every == 0:
            copies[id(self)] = self.flat.values.clone()
        return row

    def copy(self: ReplayLearner) -> None:
        self._target_flat.load(copies.get(id(self), self.flat.values))

    with (
        patch.object(ReplayLearner, "_descend", step),
        patch.object(ReplayLearner, "_copy_target", copy),
    ):
        yield


@contextmanager
def mixed_targets() -> Iterator[None]:
    """Copy as `own_targets` does, and average target networks whenever networks are averaged."""
    exchange = Agent._exchange
    network = MemoryNetwork(16)
    gossips: dict[int, Gossip] = {}

    def both(self: Agent, update_norm: float) -> None:
        exchange(self, update_norm)
        node = self.gossip.node
        if node.rank not in gossips:
            gossips[node.rank] = Gossip(
                self.learner._target_flat.values,  # type: ignore[attr-defined]
                network.transport(node.rank),
                node.rank,
                node.topology,
            )
        gossips[node.rank].exchange(self.updates)

    with own_targets(), patch.object(Agent, "_exchange", both):
        yield


VARIANTS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "as it is": nullcontext,
    "own targets": own_targets,
    "mixed targets": mixed_targets,
}
