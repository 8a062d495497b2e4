"""How far the learners of a cluster are apart: messages asked for now and then, and measured."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any

import torch

from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.cluster.protocol import ParameterSnapshot
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.gossip import Message
from gala_rl.methods import capacity
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.consensus_monitor import make_consensus_monitor

_LOOK_EVERY_S = 5.0
_BYTES_PER_S = 20e6
"""Most that looking may put on the network: of large networks a look is less often."""
_PATIENCE_S = 10.0


class ConsensusSampler:
    """Asks all nodes for what their learners have last sent, and has it measured when all is there.

    How far learners *can* be apart follows from the order of all their updates and mixes, for which
    machines have no common clock: bounds are not known here.

    Args:
        config: of the run, resolved.
        folder: of the run; rows go there.
        size: P, length of a parameter vector.
    """

    def __init__(self, config: ResolvedConfig, folder: RunFolder, size: int) -> None:
        room = capacity(config)
        self._size = size
        self._learners = config.learners
        self._messages: list[Message | None] = [None] * room
        self._gradients = torch.zeros(room, size)
        self._watch = make_consensus_monitor(
            config, folder, size, None, self._messages.__getitem__, list(self._gradients)
        )
        self._asked: list[Future[list[ParameterSnapshot]]] = []
        self._asked_at = 0.0
        self._next_at = time.monotonic() + _LOOK_EVERY_S

    @property
    def latest(self) -> dict[str, Any] | None:
        """The newest row."""
        return self._watch.latest

    def begin_scaling(self, learners: int) -> None:
        """The learners are about to go by another number; those that stay are measured on."""
        self._watch.begin_scaling(learners)

    def end_scaling(self, learners: int) -> None:
        """All go by the new number."""
        self._watch.end_scaling(learners)
        self._learners = learners

    def poll(self, posts: Sequence[NodeHandle], total_agent_steps: int) -> None:
        """Ask if it is time, and measure if all have answered; called all the while.

        Raises:
            StorageError: when a row cannot be written.
        """
        now = time.monotonic()
        if self._asked and all(asked.done() for asked in self._asked):
            self._measure(total_agent_steps)
            self._asked = []
        elif self._asked and now - self._asked_at > _PATIENCE_S:
            self._asked = []
        elif not self._asked and now >= self._next_at and not any(p.is_lost for p in posts):
            self._asked = [post.sights(self._size) for post in posts]
            bytes_asked = 2 * self._learners * self._gradients[0].nbytes
            self._asked_at = now
            self._next_at = now + max(_LOOK_EVERY_S, bytes_asked / _BYTES_PER_S)

    def sample(self, posts: Sequence[NodeHandle], total_agent_steps: int) -> None:
        """Ask and measure now; waits for the answers.

        Raises:
            StorageError: when a row cannot be written.
        """
        if not any(post.is_lost for post in posts):
            self._asked = [post.sights(self._size) for post in posts]
            wait(self._asked, timeout=_PATIENCE_S)
            self._measure(total_agent_steps)

    def close(self) -> None:
        """Close the file."""
        self._watch.close()

    def _measure(self, total_agent_steps: int) -> None:
        if any(not asked.done() or asked.exception() is not None for asked in self._asked):
            return
        for sight in (sight for asked in self._asked for sight in asked.result()):
            parameters = torch.from_numpy(sight.parameters.copy())
            self._messages[sight.rank] = Message(sight.rank, sight.version, parameters)
            self._gradients[sight.rank] = torch.from_numpy(sight.gradient.copy())
        self._watch.sample(total_agent_steps)
