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
from gala_rl.cluster.distances import ConsensusSampler
from gala_rl.cluster.node_handle import NodeHandle
from gala_rl.cluster.protocol import LearnerProgress, ScaleChange
from gala_rl.errors import LearnerFailure, UserError
from gala_rl.gossip.topology import split_into_nodes
from gala_rl.records.run_folder import RunFolder
from gala_rl.run.scaling import ScaleRequests
from gala_rl.run.shared_counters import LearnerCounter, SharedCounters

_LOST_S = 60.0
"""A new node that has been lost for so long is given up."""
_END_S = 10.0


class _Arrivals:
    """New nodes, until it is known that they can run learners."""

    def __init__(self, connection: Connection, learners: int) -> None:
        config = connection.config
        assert config.learners_per_node is not None
        self.learners = learners
        self.actors: dict[int, Any] = {}
        self._config, self._places = config, connection.places
        self._ranks = split_into_nodes(learners, config.learners_per_node)
        self._probes: list[Future[dict[str, Any]]] | None = None
        self._deadline = time.monotonic() + PLACED_S
        self._places.ask(self._ranks)

    def look(self) -> bool:
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


class ClusterScaling:
    """Takes up requests for another number of learners, one at a time.

    Args:
        connection: to the cluster.
        folder: of the run.
        board: the driver's.
        posts: of all nodes, by index; they become more or fewer.
        distances: that are measured; None if there is nobody to be apart from.
        set_up: has a new node begin.

    Attributes:
        actors: of all nodes, by index.
    """

    def __init__(
        self,
        connection: Connection,
        folder: RunFolder,
        board: SharedCounters,
        posts: list[NodeHandle],
        distances: ConsensusSampler | None,
        set_up: Callable[[NodeHandle], None],
    ) -> None:
        config = connection.config
        self.actors: dict[int, Any] = dict(enumerate(connection.nodes))
        self._shares = connection.shares
        self._connection, self._folder = connection, folder
        self._board, self._posts = board, posts
        self._distances, self._set_up = distances, set_up
        self._requests = ScaleRequests(config, folder, board)
        self._number = 0
        self._arrivals: _Arrivals | None = None
        self._before: int | None = None
        self._rejected: str | None = None
        self._former: dict[int, NodeHandle] = {}
        self._ending: list[tuple[NodeHandle, Future[None], float]] = []

    @property
    def is_under_way(self) -> bool:
        """Whether learners may be joining or leaving."""
        return self._before is not None

    @property
    def restarts(self) -> list[int]:
        """Of each learner that is a member or has been."""
        known = {
            rank: restarts
            for post in (*self._former.values(), *self._posts)
            for rank, restarts in zip(post.share, post.restarts, strict=True)
        }
        return [known.get(rank, 0) for rank in range(self._board.learners_ever)]

    def change(self) -> ScaleChange | None:
        """The newest, for a node; None before the first."""
        if not self._number:
            return None
        return ScaleChange(self._number, self._board.learners, self.actors)

    def change_for(self, post: NodeHandle) -> ScaleChange | None:
        """What it has not been told yet, or has not said that it has."""
        is_known = post.latest is not None and post.latest.change == self._number
        return None if is_known else self.change()

    def joins(self, post: NodeHandle) -> range:
        """Those of a node's learners that are about to join."""
        first = self._board.learners if self._before is None else self._before
        return range(max(first, post.ranks.start), post.ranks.stop)

    def left(self) -> dict[int, LearnerProgress]:
        """How far those had come that are members no more: their nodes may be gone."""
        get = self._board.get
        return {
            rank: LearnerProgress(
                get(rank, LearnerCounter.AGENT_STEPS), get(rank, LearnerCounter.UPDATES), 1
            )
            for rank in range(self._board.learners, self._board.learners_ever)
        }

    def reject(self, why: str) -> None:
        """A node that is new cannot go on: everything is to be as it was."""
        self._rejected = self._rejected or why

    def poll(self) -> str | None:
        """Go on with the change that is under way, or take one up; called all the while.

        Returns:
            What there is to tell, if anything has happened.

        Raises:
            StorageError: when the change cannot be recorded.
        """
        self._see_ends()
        if self._before is not None:
            return self._go_on(self._before)
        try:
            if self._arrivals is not None:
                if self._arrivals.look():
                    self._begin(self._arrivals)
                    self._arrivals = None
            elif not self._ending and self._is_settled():
                learners = self._requests.pending()
                if learners is not None:
                    self._arrivals = _Arrivals(self._connection, learners)
        except UserError as error:
            if self._arrivals is not None:
                self._arrivals.give_up()
                self._arrivals = None
            return self._requests.refuse(error)
        return None

    def _begin(self, arrivals: _Arrivals) -> None:
        before = self._before = self._board.learners
        if self._distances is not None:
            self._distances.begin_scaling(arrivals.learners)
        self.actors = {**self.actors, **arrivals.actors}
        self._tell(arrivals.learners)
        for rank in range(before, arrivals.learners):
            self._folder.log_file(rank).touch()
            # A checkpoint in the making goes without it.
            self._board.set(rank, LearnerCounter.CHECKPOINT_WRITTEN, self._board.checkpoint_wanted)
        for index, actor in arrivals.actors.items():
            post = self._former.pop(index, None)
            post = post or NodeHandle(index, actor, self._shares[index], arrivals.learners)
            post.move_in(actor, arrivals.learners)
            self._posts.append(post)
            self._set_up(post)

    def _tell(self, learners: int) -> None:
        """Everybody is to go by another number, by and by."""
        self._number += 1
        self._board.set_learners(learners)
        for post in self._posts:
            post.go_by(learners)

    def _go_on(self, before: int) -> str | None:
        notice = None
        if (failure := self._why_nobody_joins()) is not None and self._board.learners != before:
            self._tell(before)
            notice = self._requests.leave_again(before, LearnerFailure(failure))
        return self._end(before) if self._is_settled() else notice

    def _why_nobody_joins(self) -> str | None:
        rejected, self._rejected = self._rejected, None
        for post in self._posts:
            if post.joins and post.is_lost and post.silent_s > _LOST_S:
                rejected = rejected or f"node {post.index} has not answered for {_LOST_S:.0f} s"
            report = post.latest
            if report is not None and report.change == self._number:
                rejected = rejected or report.rejected
        return rejected

    def _end(self, before: int) -> str | None:
        if self._distances is not None:
            self._distances.end_scaling(self._board.learners)
        self._before = None
        for post in list(self._posts):
            post.joins = False
            if not post.ranks:
                self._posts.remove(post)
                del self.actors[post.index]
                self._former[post.index] = post
                self._ending.append((post, post.end().future(), time.monotonic() + _END_S))
        return self._requests.finish(before)

    def _see_ends(self) -> None:
        """Give back the room of nodes that have ended, or have had time to."""
        for ending in list(self._ending):
            post, end, deadline = ending
            if end.done() or time.monotonic() > deadline:
                self._connection.places.give_back(post.index)
                self._ending.remove(ending)

    def _is_settled(self) -> bool:
        """Whether all nodes that can be asked go by the number on the board."""
        return all(map(self._has_followed, self._posts))

    def _has_followed(self, post: NodeHandle) -> bool:
        if post.is_lost:
            # Whoever is back is told; of a new one it is not known yet whether it ever will be.
            return not (post.joins and post.ranks)
        report = post.latest
        if report is None or report.change != self._number:
            return False
        if not post.ranks:
            return post.is_done
        told = report.told[: len(post.ranks)]
        return report.has_let_go and all(n == self._board.learners for n in told)
