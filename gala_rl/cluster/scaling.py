"""Another number of learners of a run on a cluster: nodes are told, come into being, or end.

A change in steps, of which no learner waits for another, nor for the driver:

1. Ray is asked for room, if more is needed; new nodes are held against this machine. Until then,
   and without room for good, the run is what it was.
2. Each node is told the new number with the next look at it: it tells its learners, and its courier
   goes to other nodes. New nodes are set up without learners. On each node those that join start
   once somebody they can begin with has sent since.
3. It is done when on all nodes that can be asked all members have made an update by the new number,
   and all others have ended. Nodes without learners are ended then, and their room is given back.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray

from gala_rl.cluster.connection import (
    PLACED_S,
    PROBED_S,
    Connection,
    cannot_run,
    compare,
    probe_here,
    values_to_probe,
)
from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.cluster.protocol import LearnerProgress, ScaleChange
from gala_rl.errors import LearnerFailure
from gala_rl.gossip.topology import split_into_nodes
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_LOST_S = 60.0
"""A new node that has been lost for so long is given up."""
_END_S = 10.0


class _Arrivals:
    """New nodes, until it is known that they can run learners."""

    def __init__(self, connection: Connection, learners: int) -> None:
        config = connection.config
        assert config.learners_per_node is not None
        self.actors: dict[int, Any] = {}
        self._config, self._places = config, connection.places
        self._ranks = split_into_nodes(learners, config.learners_per_node)
        self._probes: list[Future[dict[str, Any]]] | None = None
        self._deadline = time.monotonic() + PLACED_S
        self._places.ask(self._ranks)

    def poll(self) -> bool:
        """Whether all can run learners; never waits.

        Raises:
            UserError: when one cannot, or there is no room for it.
        """
        is_late = time.monotonic() > self._deadline
        if self._probes is None:
            if self._places.has_all():
                self._ask()
            elif is_late:
                raise self._places.why_not(self._ranks)
            return False
        if all(probe.done() for probe in self._probes):
            self._compare(self._probes)
            return True
        if is_late:
            raise cannot_run(self._config, TimeoutError(f"a node did not answer in {PROBED_S:g} s"))
        return False

    def give_up(self) -> None:
        """End them; the nodes that were there before keep what they had."""
        self._places.withdraw()

    def _ask(self) -> None:
        self.actors = self._places.hold()
        values = values_to_probe(self._config)
        self._probes = [actor.probe.remote(values, True).future() for actor in self.actors.values()]
        self._deadline = time.monotonic() + PROBED_S

    def _compare(self, probes: "list[Future[dict[str, Any]]]") -> None:
        try:
            told = [probe.result() for probe in probes]
        except ray.exceptions.RayError as error:
            raise cannot_run(self._config, error) from error
        if told:
            compare([probe_here(values_to_probe(self._config)), *told])


class ClusterMembers:
    """The learners of a run on a cluster, and its nodes; `Members`.

    Args:
        connection: to the cluster.
        folder: of the run.
        counters: of the run, where the driver keeps the number of learners.
        nodes: all nodes, by index; scaling adds and removes some.
        set_up: starts a new node.

    Attributes:
        actors: of all nodes, by index.
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
        self._arrivals: _Arrivals | None = None
        self._before: int | None = None
        self._rejected: str | None = None
        self._former: dict[int, NodeHandle] = {}
        self._ending: list[tuple[NodeHandle, Future[None], float]] = []

    @property
    def restarts(self) -> list[int]:
        """Of each learner that is a member or has been."""
        known = {
            rank: restarts
            for post in (*self._former.values(), *self._nodes)
            for rank, restarts in zip(post.share, post.restarts, strict=True)
        }
        return [known.get(rank, 0) for rank in range(self._counters.learners_ever)]

    def change(self) -> ScaleChange | None:
        """The newest, for a node; None before the first."""
        if not self._number:
            return None
        return ScaleChange(self._number, self._counters.learners, self.actors)

    def change_for(self, post: NodeHandle) -> ScaleChange | None:
        """What it has not been told yet, or has not said that it has."""
        is_known = post.latest is not None and post.latest.change == self._number
        return None if is_known else self.change()

    def joins(self, post: NodeHandle) -> range:
        """Those of a node's learners that are about to join."""
        first = self._counters.learners if self._before is None else self._before
        return range(max(first, post.ranks.start), post.ranks.stop)

    def left(self) -> dict[int, LearnerProgress]:
        """How far those had come that are members no more: their nodes may be gone."""
        get = self._counters.get
        return {
            rank: LearnerProgress(
                get(rank, LearnerCounter.AGENT_STEPS), get(rank, LearnerCounter.UPDATES), 1
            )
            for rank in range(self._counters.learners, self._counters.learners_ever)
        }

    def reject(self, why: str) -> None:
        """Have scaling end as if it had not begun, because a new node cannot go on."""
        self._rejected = self._rejected or why

    def prepare(self, learners: int) -> bool:
        """See `Members`."""
        if self._arrivals is None:
            self._arrivals = _Arrivals(self._connection, learners)
        return self._arrivals.poll()

    def cancel(self) -> None:
        """See `Members`."""
        if self._arrivals is not None:
            self._arrivals.give_up()
            self._arrivals = None

    def begin(self, before: int) -> None:
        """See `Members`."""
        assert self._arrivals is not None
        new, self._arrivals = self._arrivals.actors, None
        self._before, learners = before, self._counters.learners
        self.actors = {**self.actors, **new}
        self._adopt()
        for rank in range(before, learners):
            self._folder.log_file(rank).touch()
            # A checkpoint in the making goes without it.
            wanted = self._counters.checkpoint_wanted
            self._counters.set(rank, LearnerCounter.CHECKPOINT_WRITTEN, wanted)
        for index, actor in new.items():
            node = self._former.pop(index, None)
            node = node or NodeHandle(index, actor, self._shares[index], learners)
            node.move_in(actor, learners)
            self._nodes.append(node)
            self._set_up(node)

    def revert(self) -> None:
        """See `Members`."""
        self._adopt()

    def poll(self) -> LearnerFailure | None:
        """See `Members`; nodes start their learners themselves."""
        rejected, self._rejected = self._rejected, None
        for node in self._nodes:
            if node.joins and node.is_lost and node.silent_s > _LOST_S:
                rejected = rejected or f"node {node.index} has not answered for {_LOST_S:.0f} s"
            status = node.latest
            if status is not None and status.change == self._number:
                rejected = rejected or status.rejected
        return None if rejected is None else LearnerFailure(rejected)

    def is_settled(self) -> bool:
        """See `Members`; nodes that cannot be asked are told once they are back."""
        self._release_nodes()
        return not self._ending and all(map(self._has_adopted, self._nodes))

    def finish(self) -> None:
        """See `Members`."""
        self._before = None
        for node in list(self._nodes):
            node.joins = False
            if not node.ranks:
                self._nodes.remove(node)
                del self.actors[node.index]
                self._former[node.index] = node
                self._ending.append((node, node.end().future(), time.monotonic() + _END_S))

    def _adopt(self) -> None:
        """Have all nodes adopt the number of learners, each with its next request."""
        self._number += 1
        for node in self._nodes:
            node.go_by(self._counters.learners)

    def _release_nodes(self) -> None:
        """Release the places of nodes that have ended, or have had time to."""
        for ending in list(self._ending):
            node, end, deadline = ending
            if end.done() or time.monotonic() > deadline:
                self._connection.places.give_back(node.index)
                self._ending.remove(ending)

    def _has_adopted(self, node: NodeHandle) -> bool:
        if node.is_lost:
            # A former node is told when it is back; a new one may never have been there.
            return not (node.joins and node.ranks)
        status = node.latest
        if status is None or status.change != self._number:
            return False
        if not node.ranks:
            return node.is_done
        adopted = status.told[: len(node.ranks)]
        return status.has_let_go and all(n == self._counters.learners for n in adopted)
