"""Changes the number of learners of a run on a cluster: nodes join, change or leave.

It takes these steps, in which no learner waits for another or for the driver:

1. Resources are requested from Ray if more are needed, and new nodes are probed. The run continues
   unchanged until they are ready, and if there is no room.
2. Each node gets the new number with its next heartbeat. It passes it on to its learners, and its
   relay changes the nodes that it sends to. New nodes are set up without learners. On each node
   joining learners start once a learner that they can start from has sent a new message.
3. The change is complete when, on all nodes that answer, all members have made an update with the
   new number and all others have ended. Then nodes without learners end and release resources.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from gala_rl.cluster.connection import Connection, NewNodes
from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.cluster.protocol import LearnerProgress, ScaleChange
from gala_rl.errors import LearnerFailure
from gala_rl.gossip.topology import split_into_nodes
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_LOST_S = 60.0
"""A change is reverted when a new node has been lost for this long."""
_END_S = 10.0


class ClusterMembers:
    """Members of a run on a cluster, and its nodes; see `Members`.

    Args:
        connection: connection to the cluster.
        folder: folder of the run.
        counters: counters of the driver.
        nodes: all nodes, by index; this class adds and removes some.
        set_up: starts a new node.

    Attributes:
        actors: Ray actors of all nodes, by index.
    """

    def __init__(
        self,
        connection: Connection,
        folder: RunFolder,
        counters: SharedCounters,
        nodes: list[NodeHandle],
        set_up: Callable[[NodeHandle], None],
    ) -> None:
        self.actors: dict[int, Any] = dict(enumerate(connection.nodes))
        self._shares = connection.shares
        self._connection, self._folder = connection, folder
        self._counters, self._nodes, self._set_up = counters, nodes, set_up
        self._number = 0
        self._new_nodes: NewNodes | None = None
        self._before: int | None = None
        self._rejected: str | None = None
        self._former: dict[int, NodeHandle] = {}
        self._ending: list[tuple[NodeHandle, Future[None], float]] = []

    @property
    def restarts(self) -> list[int]:
        """Number of restarts per present or former member."""
        known = {
            rank: restarts
            for node in (*self._former.values(), *self._nodes)
            for rank, restarts in zip(node.share, node.restarts, strict=True)
        }
        return [known.get(rank, 0) for rank in range(self._counters.learners_ever)]

    def newest_change(self) -> ScaleChange | None:
        """Return the newest change; None before the first."""
        if not self._number:
            return None
        return ScaleChange(self._number, self._counters.learners, self.actors)

    def unconfirmed_change(self, node: NodeHandle) -> ScaleChange | None:
        """Return the newest change unless the node has confirmed it."""
        is_known = node.latest is not None and node.latest.change == self._number
        return None if is_known else self.newest_change()

    def joining_ranks(self, node: NodeHandle) -> range:
        """Return the ranks of a node's learners that are joining."""
        first = self._counters.learners if self._before is None else self._before
        return range(max(first, node.ranks.start), node.ranks.stop)

    def former_progress(self) -> dict[int, LearnerProgress]:
        """Return the progress of learners that have left, whose nodes may have ended."""
        get = self._counters.get
        return {
            rank: LearnerProgress(
                get(rank, LearnerCounter.AGENT_STEPS), get(rank, LearnerCounter.UPDATES), 1
            )
            for rank in range(self._counters.learners, self._counters.learners_ever)
        }

    def reject(self, reason: str) -> None:
        """Request that the change is reverted, since a new node has failed."""
        self._rejected = self._rejected or reason

    def prepare(self, learners: int) -> bool:
        """See `Members`."""
        if self._new_nodes is None:
            config, placement = self._connection.config, self._connection.placement
            assert config.learners_per_node is not None
            ranks = split_into_nodes(learners, config.learners_per_node)
            self._new_nodes = NewNodes(config, placement, ranks)
        return self._new_nodes.are_ready()

    def cancel(self) -> None:
        """See `Members`."""
        if self._new_nodes is not None:
            self._new_nodes.cancel()
            self._new_nodes = None

    def begin(self, before: int) -> None:
        """See `Members`."""
        assert self._new_nodes is not None
        new, self._new_nodes = self._new_nodes.actors, None
        self._before, counters = before, self._counters
        self.actors = {**self.actors, **new}
        self._adopt()
        for rank in range(before, counters.learners):
            self._folder.log_file(rank).touch()
            # It does not contribute to a checkpoint in progress.
            counters.set(rank, LearnerCounter.CHECKPOINT_WRITTEN, counters.requested_checkpoint)
        for index, actor in new.items():
            node = self._former.pop(index, None)
            node = node or NodeHandle(index, actor, self._shares[index], counters.learners)
            node.replace_actor(actor, counters.learners)
            self._nodes.append(node)
            self._set_up(node)

    def revert(self) -> None:
        """See `Members`."""
        self._adopt()

    def poll(self) -> LearnerFailure | None:
        """See `Members`; nodes start their learners themselves."""
        rejected, self._rejected = self._rejected, None
        for node in self._nodes:
            if node.joining and node.is_lost and node.silent_s > _LOST_S:
                rejected = rejected or f"node {node.index} has not answered for {_LOST_S:.0f} s"
            status = node.latest
            if status is not None and status.change == self._number:
                rejected = rejected or status.rejected
        return None if rejected is None else LearnerFailure(rejected)

    def is_settled(self) -> bool:
        """See `Members`; nodes that do not answer adopt the number once they are back."""
        self._release_ended()
        return not self._ending and all(map(self._has_adopted, self._nodes))

    def finish(self) -> None:
        """See `Members`."""
        self._before = None
        for node in list(self._nodes):
            node.joining = False
            if not node.ranks:
                self._nodes.remove(node)
                del self.actors[node.index]
                self._former[node.index] = node
                self._ending.append((node, node.end().future(), time.monotonic() + _END_S))

    def _adopt(self) -> None:
        """Make all nodes adopt the number of learners, each with its next heartbeat."""
        self._number += 1
        for node in self._nodes:
            node.set_members(self._counters.learners)

    def _release_ended(self) -> None:
        """Release the resources of nodes that have ended, or whose time to end is over."""
        for ending in list(self._ending):
            node, call, deadline = ending
            if call.done() or time.monotonic() > deadline:
                self._connection.placement.release(node.index)
                self._ending.remove(ending)

    def _has_adopted(self, node: NodeHandle) -> bool:
        if node.is_lost:
            # A known node adopts the number when it is back; a new one may never answer.
            return not (node.joining and node.ranks)
        status = node.latest
        if status is None or status.change != self._number:
            return False
        if not node.ranks:
            return node.is_done
        seen = status.learners_seen[: len(node.ranks)]
        return status.former_ended and all(n == self._counters.learners for n in seen)
