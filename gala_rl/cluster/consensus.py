"""Measures distances between learners on a cluster, from messages that the driver samples."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any

import torch

from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.cluster.protocol import ParameterSnapshot
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.gossip import Message
from gala_rl.methods.resolving import capacity
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.consensus_monitor import ConsensusMonitor

_SAMPLE_EVERY_S = 5.0
_BYTES_PER_S = 20e6
"""Bandwidth limit of sampling: large networks are sampled less often."""
_TIMEOUT_S = 10.0


class ConsensusSampler:
    """Requests the learners' latest messages from all nodes, and measures once all have arrived.

    Rows have no bounds on the distances: these need the order of all updates and mixes, and
    machines have no common clock.

    Args:
        config: resolved config of the run.
        folder: folder of the run, to which rows are written.
        size: P, number of learned parameters.
        nodes: all nodes; scaling adds and removes some.
    """

    def __init__(
        self, config: ResolvedConfig, folder: RunFolder, size: int, nodes: Sequence[NodeHandle]
    ) -> None:
        room = capacity(config)
        self._size, self._nodes = size, nodes
        self._learners = config.learners
        self._messages: list[Message | None] = [None] * room
        self._gradients = torch.zeros(room, size)
        self._monitor = ConsensusMonitor(
            config,
            folder,
            size,
            read=self._messages.__getitem__,
            gradients=list(self._gradients),
        )
        self._requests: list[Future[list[ParameterSnapshot]]] = []
        self._requested_at = 0.0
        self._next_at = time.monotonic() + _SAMPLE_EVERY_S

    @property
    def latest(self) -> dict[str, Any] | None:
        """The newest row; see `ConsensusMonitor`."""
        return self._monitor.latest

    def begin_scaling(self, learners: int) -> None:
        """See `ConsensusMonitor`."""
        self._monitor.begin_scaling(learners)

    def end_scaling(self, learners: int) -> None:
        """See `ConsensusMonitor`."""
        self._monitor.end_scaling(learners)
        self._learners = learners

    def poll(self, total_agent_steps: int) -> None:
        """Send requests to the nodes when due, and measure when all have answered.

        Raises:
            StorageError: when a row cannot be written.
        """
        now = time.monotonic()
        if self._requests and all(request.done() for request in self._requests):
            self._measure(total_agent_steps)
            self._requests = []
        elif self._requests and now - self._requested_at > _TIMEOUT_S:
            self._requests = []
        elif not self._requests and now >= self._next_at and not self._is_node_lost():
            self._requests = [node.snapshots(self._size) for node in self._nodes]
            requested_bytes = 2 * self._learners * self._gradients[0].nbytes
            self._requested_at = now
            self._next_at = now + max(_SAMPLE_EVERY_S, requested_bytes / _BYTES_PER_S)

    def sample(self, total_agent_steps: int) -> None:
        """Measure now; wait for the nodes' answers.

        Raises:
            StorageError: when a row cannot be written.
        """
        if not self._is_node_lost():
            self._requests = [node.snapshots(self._size) for node in self._nodes]
            wait(self._requests, timeout=_TIMEOUT_S)
            self._measure(total_agent_steps)

    def close(self) -> None:
        """Close the file of rows."""
        self._monitor.close()

    def _is_node_lost(self) -> bool:
        return any(node.is_lost for node in self._nodes)

    def _measure(self, total_agent_steps: int) -> None:
        if any(not request.done() or request.exception() for request in self._requests):
            return
        for snapshot in (snapshot for request in self._requests for snapshot in request.result()):
            rank, parameters = snapshot.rank, torch.from_numpy(snapshot.parameters.copy())
            self._messages[rank] = Message(rank, snapshot.version, parameters)
            self._gradients[rank] = torch.from_numpy(snapshot.gradient.copy())
        self._monitor.sample(total_agent_steps)
