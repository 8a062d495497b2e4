"""The driver's handle to one node: calls it, stores its status, detects that it is lost."""

import enum
import time
from concurrent.futures import Future
from typing import Any

import ray

from gala_rl.cluster.protocol import (
    HEARTBEATS,
    HeartbeatRequest,
    NodeSpec,
    NodeStatus,
    ParameterSnapshot,
)

_SILENT_S = 10.0
"""A node that has not answered for this long counts as lost, until it answers."""
_START_S = 120.0
"""Start-up timeout: a node that takes longer counts as lost."""
_CHECKPOINT_PART_S = 30.0
"""Timeout of reading and sending a part of a checkpoint."""


class NodeState(enum.Enum):
    """Why a node has no status."""

    LOST = 1
    """The node is dead or unreachable."""
    EMPTY = 2
    """Ray has restarted the node, which has to be set up again."""
    FAILED = 3
    """The node could not start its learners, for the reason in `NodeHandle.error`."""


class NodeHandle:
    """Handle to a node, through its Ray actor; no method blocks, except `checkpoint_part`.

    Args:
        index: index of the node.
        actor: the Ray actor.
        share: ranks of the learners that the node may run.
        learners: number of members of the run.
        actors: indices of its actors, if one learner has actors on all nodes.

    Attributes:
        ranks: ranks of its learners that are members; empty if the node is to end.
        joining: whether scaling that is in progress has added it.
        incarnation: how often it has been set up.
        is_lost: whether its current state is unknown.
        latest: newest status of this incarnation, if any.
        offsets: size in bytes of the driver's copy of each of its files, by path.
        error: why its learners could not be started.
        updates_at_start: total updates of its learners when it was last set up.
        deaths_in_a_row: deaths since its learners last made progress.
        driver_lost_at: when it first reported that it had ended its learners because the driver was
            silent; None if it has not.
    """

    def __init__(
        self, index: int, actor: Any, share: range, learners: int, actors: range = range(0)
    ) -> None:
        self.index, self.share, self.actors = index, share, actors
        self.set_members(learners)
        self.joining = self.is_lost = False
        self.incarnation = 0
        self.latest: NodeStatus | None = None
        self.offsets: dict[str, int] = {}
        self.error = ""
        self.updates_at_start = self.deaths_in_a_row = 0
        self.driver_lost_at: float | None = None
        self._actor = actor
        self._start: Future[None] | None = None
        self._heartbeat: Future[NodeStatus | None] | None = None
        self._answered_at = self._requested_at = time.monotonic()
        self._earlier_restarts = [0] * len(share)

    @property
    def is_done(self) -> bool:
        """Whether its learners have ended for good, and the driver has all of their output."""
        return self.latest is not None and self.latest.done and not self.latest.appended

    @property
    def name(self) -> str:
        """Name in notices."""
        shares = [("learners", self.ranks or self.share), ("actors", self.actors)]
        parts = [f"{name} {share[0]} to {share[-1]}" for name, share in shares if share]
        return f"node {self.index} ({', '.join(parts)})"

    @property
    def has_work(self) -> bool:
        """Whether the node has learners or actors to run."""
        return bool(self.ranks or self.actors)

    @property
    def silent_s(self) -> float:
        """Seconds since the node last answered or was started."""
        return time.monotonic() - self._answered_at

    @property
    def alive(self) -> list[bool]:
        """Whether each member is alive, by the latest status."""
        if self.is_lost or self.latest is None:
            return [not (self.is_lost or self.joining)] * len(self.ranks)
        return self.latest.alive[: len(self.ranks)]

    @property
    def restarts(self) -> list[int]:
        """Number of restarts per learner, including those with the whole node."""
        now = [0] * len(self.share) if self.latest is None else self.latest.restarts
        return [before + n for before, n in zip(self._earlier_restarts, now, strict=True)]

    def set_members(self, learners: int) -> None:
        """Set the number of members of the run."""
        self.ranks = range(self.share.start, min(self.share.stop, learners))

    def replace_actor(self, actor: Any, learners: int) -> None:
        """Use a new Ray actor for this node, whose learners then join a run in progress."""
        self.set_members(learners)
        self._earlier_restarts, self.latest = self.restarts, None
        self._actor, self.joining, self.is_lost = actor, True, False
        self.deaths_in_a_row = 0
        # A former node of this index may have been incarnation 1; `set_up` adds one.
        self.incarnation = max(1, self.incarnation)

    def probe(self, config: dict[str, Any], has_learners: bool) -> "Future[dict[str, Any]]":
        """See `Node.probe`."""
        future: Future[dict[str, Any]] = self._actor.probe.remote(config, has_learners).future()
        return future

    def set_up(self, spec: NodeSpec, nodes: list[Any]) -> None:
        """Set up the node, for the first time or after it was lost."""
        if self.is_lost:
            self._earlier_restarts = [
                n + (rank in self.ranks) for n, rank in zip(self.restarts, self.share, strict=True)
            ]
        self.incarnation, self.latest = spec.incarnation, None
        self._heartbeat = self.driver_lost_at = None
        self._answered_at = time.monotonic()
        self._start = self._actor.set_up.remote(spec, nodes).future()

    def poll(self, request: HeartbeatRequest) -> NodeStatus | NodeState | None:
        """Send the next heartbeat if none is in progress.

        Returns:
            The node's next status if it has arrived, or why none can be expected; else None.
        """
        if self._start is not None:
            return self._poll_start(self._start)
        self.send_heartbeat(request)
        assert self._heartbeat is not None
        if not self._heartbeat.done():
            # The smaller time counts, since the driver itself may have been suspended.
            waited_s = time.monotonic() - self._requested_at
            return NodeState.LOST if min(waited_s, self.silent_s) > _SILENT_S else None
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat.exception() is not None:
            return NodeState.LOST
        self._answered_at = time.monotonic()
        if (status := heartbeat.result()) is None:
            return NodeState.EMPTY
        self.latest = status
        if status.driver_lost and self.driver_lost_at is None:
            self.driver_lost_at = self._answered_at
        return status

    def send_heartbeat(self, request: HeartbeatRequest) -> None:
        """Request the next status, unless a heartbeat is in progress."""
        if self._heartbeat is None:
            heartbeat = self._actor.heartbeat.options(concurrency_group=HEARTBEATS)
            self._heartbeat = heartbeat.remote(request).future()
            self._requested_at = time.monotonic()

    def checkpoint_part(self, request: str, rank: int) -> dict[str, bytes] | None:
        """Fetch a learner's part of a checkpoint in progress; wait for it.

        Raises:
            ray.exceptions.RayError: when the node cannot be reached.
        """
        part = self._actor.checkpoint_part.options(concurrency_group=HEARTBEATS)
        call: Future[dict[str, bytes] | None] = part.remote(request, rank).future()
        try:
            return call.result(_CHECKPOINT_PART_S)
        except TimeoutError as error:
            raise ray.exceptions.GetTimeoutError(f"{self.name} is late with a part") from error

    def snapshots(self, size: int) -> "Future[list[ParameterSnapshot]]":
        """See `Node.snapshots`."""
        snapshots = self._actor.snapshots.options(concurrency_group=HEARTBEATS)
        future: Future[list[ParameterSnapshot]] = snapshots.remote(size).future()
        return future

    def crash(self) -> None:
        """See `Node.crash`; Ray then restarts the node."""
        self.driver_lost_at = None
        self._actor.crash.options(concurrency_group=HEARTBEATS).remote()

    def end(self) -> Any:
        """Request the node to end all that it has started; return Ray's reference of the call."""
        return self._actor.end.remote()

    def kill(self) -> None:
        """Kill the node at once, with all that it has started."""
        ray.kill(self._actor)

    def _poll_start(self, start: "Future[None]") -> NodeState | None:
        if not start.done():
            return NodeState.LOST if self.silent_s > _START_S else None
        self._start = None
        self._answered_at = time.monotonic()
        error = start.exception()
        if isinstance(error, ray.exceptions.RayTaskError):
            self.error = str(error)
            return NodeState.FAILED
        return None if error is None else NodeState.LOST
