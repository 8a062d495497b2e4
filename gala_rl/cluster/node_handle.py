"""The driver's view of one node: starting it, asking it for reports, missing it."""

import enum
import time
from concurrent.futures import Future
from typing import Any

import ray

from gala_rl.cluster.node import REPORTS
from gala_rl.cluster.protocol import HeartbeatRequest, NodeSpec, NodeStatus, ParameterSnapshot

_SILENT_S = 10.0
"""A node that has not answered for so long is as good as dead, until it answers."""
_STARTED_S = 120.0
"""Nor is one that has not started its learners by then."""
_PATIENCE_S = 30.0
"""For a part of a checkpoint, which is read and sent."""


class NodeState(enum.Enum):
    """Why there is no report of a node."""

    LOST = 1
    """It is dead, or cannot be reached."""
    EMPTY = 2
    """It was dead and has been started by Ray; it has to be set up again."""
    FAILED = 3
    """It could not start its learners; `NodeHandle.error` tells."""


class NodeHandle:
    """One node, by its actor; no call waits unless it says so.

    Attributes:
        index: of the node.
        share: ranks of its learners, as many as there can be.
        ranks: of those that are members; none where the node is about to be ended.
        actors: indices of its actors, if one learner has actors on all nodes.
        joins: whether it is new by a change of the number of learners that is under way.
        incarnation: how often it has been set up.
        is_lost: whether nothing is known of it at the moment.
        latest: newest report of this incarnation.
        read: bytes of each of its files that have come, by path.
        error: why its learners could not be started.
        updates_at_start: that its learners had made when it was set up last.
        deaths_in_a_row: since they made progress.
        left_alone_at: when it was first seen that it has ended its learners, since the driver had
            been silent; None if it has not.
    """

    def __init__(
        self, index: int, actor: Any, share: range, learners: int, actors: range = range(0)
    ) -> None:
        self.index, self.share, self.actors = index, share, actors
        self.go_by(learners)
        self.joins = False
        self.incarnation = 0
        self.is_lost = False
        self.latest: NodeStatus | None = None
        self.read: dict[str, int] = {}
        self.error = ""
        self.updates_at_start = self.deaths_in_a_row = 0
        self.left_alone_at: float | None = None
        self._actor = actor
        self._starting: Future[None] | None = None
        self._call: Future[NodeStatus | None] | None = None
        self._heard_at = self._asked_at = time.monotonic()
        self._restarts = [0] * len(share)

    @property
    def is_done(self) -> bool:
        """Whether its learners have ended for good, and all that they wrote has come."""
        return self.latest is not None and self.latest.done and not self.latest.news

    @property
    def name(self) -> str:
        """For people."""
        who = [("learners", self.ranks or self.share), ("actors", self.actors)]
        there = [f"{name} {share[0]} to {share[-1]}" for name, share in who if share]
        return f"node {self.index} ({', '.join(there)})"

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody for it to run."""
        return bool(self.ranks or self.actors)

    @property
    def silent_s(self) -> float:
        """Seconds since it was last heard, or set up."""
        return time.monotonic() - self._heard_at

    @property
    def alive(self) -> list[bool]:
        """Whether each learner is, as far as is known."""
        if self.is_lost or self.latest is None:
            return [not (self.is_lost or self.joins)] * len(self.ranks)
        return self.latest.alive[: len(self.ranks)]

    @property
    def restarts(self) -> list[int]:
        """Of each learner that there can be, by its crew or with its node."""
        now = [0] * len(self.share) if self.latest is None else self.latest.restarts
        return [before + n for before, n in zip(self._restarts, now, strict=True)]

    def go_by(self, learners: int) -> None:
        """There are so many learners in all from now on."""
        self.ranks = range(self.share.start, min(self.share.stop, learners))

    def move_in(self, actor: Any, learners: int) -> None:
        """Another actor is the node from now on, in a run that goes on."""
        self.go_by(learners)
        self._restarts, self.latest = self.restarts, None
        self._actor, self.joins, self.is_lost = actor, True, False
        self.deaths_in_a_row = 0
        # What was there before, if anything was, is an earlier incarnation.
        self.incarnation = max(1, self.incarnation)

    def probe(self, values: dict[str, Any], has_learners: bool) -> "Future[dict[str, Any]]":
        """See `Node.probe`."""
        future: Future[dict[str, Any]] = self._actor.probe.remote(values, has_learners).future()
        return future

    def set_up(self, orders: NodeSpec, actors: list[Any]) -> None:
        """Have it start its learners, for the first time or after it was lost."""
        if self.is_lost:
            self._restarts = [
                n + (rank in self.ranks) for n, rank in zip(self.restarts, self.share, strict=True)
            ]
        self.incarnation, self.latest = orders.incarnation, None
        self._call = self.left_alone_at = None
        self._heard_at = time.monotonic()
        self._starting = self._actor.set_up.remote(orders, actors).future()

    def look(self, wishes: HeartbeatRequest) -> NodeStatus | NodeState | None:
        """Go on asking for reports.

        Returns:
            The next report if it has come; or why there is none to be expected; else None.
        """
        if self._starting is not None:
            return self._look_at_start(self._starting)
        self.ask(wishes)
        assert self._call is not None
        if not self._call.done():
            # It can have been the driver that was silent.
            waited_s = time.monotonic() - self._asked_at
            return NodeState.LOST if min(waited_s, self.silent_s) > _SILENT_S else None
        call, self._call = self._call, None
        if call.exception() is not None:
            return NodeState.LOST
        self._heard_at = time.monotonic()
        report = call.result()
        if report is None:
            return NodeState.EMPTY
        self.latest = report
        if report.left_alone and self.left_alone_at is None:
            self.left_alone_at = self._heard_at
        return report

    def ask(self, wishes: HeartbeatRequest) -> None:
        """Ask for the next report, if none is under way."""
        if self._call is None:
            report = self._actor.report.options(concurrency_group=REPORTS)
            self._call, self._asked_at = report.remote(wishes).future(), time.monotonic()

    def part(self, request: str, rank: int) -> dict[str, bytes] | None:
        """A learner's part of a checkpoint in the making; waits for it.

        Raises:
            ray.exceptions.RayError: when the node cannot be reached.
        """
        part = self._actor.part.options(concurrency_group=REPORTS)
        call: Future[dict[str, bytes] | None] = part.remote(request, rank).future()
        try:
            return call.result(_PATIENCE_S)
        except TimeoutError as error:
            raise ray.exceptions.GetTimeoutError(f"{self.name} is late with a part") from error

    def sights(self, size: int) -> "Future[list[ParameterSnapshot]]":
        """See `Node.sights`."""
        sights = self._actor.sights.options(concurrency_group=REPORTS)
        future: Future[list[ParameterSnapshot]] = sights.remote(size).future()
        return future

    def strike(self) -> None:
        """See `Node.die`; Ray starts it again."""
        self.left_alone_at = None
        self._actor.die.options(concurrency_group=REPORTS).remote()

    def end(self) -> Any:
        """Ask it to end whatever it has started; returns what can be waited for."""
        return self._actor.end.remote()

    def kill(self) -> None:
        """End it in any case, with whatever it has started."""
        ray.kill(self._actor)

    def _look_at_start(self, starting: "Future[None]") -> NodeState | None:
        if not starting.done():
            return NodeState.LOST if time.monotonic() - self._heard_at > _STARTED_S else None
        self._starting = None
        self._heard_at = time.monotonic()
        error = starting.exception()
        if isinstance(error, ray.exceptions.RayTaskError):
            self.error = str(error)
            return NodeState.FAILED
        return None if error is None else NodeState.LOST
